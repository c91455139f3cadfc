"""The ONNX form of a model: conversion by skl2onnx and converters of our own."""
