"""The report for people, made of files on a machine that has no monitor."""
