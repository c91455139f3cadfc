"""Messages of the Open Inference Protocol over gRPC; `*_pb2*` are generated from the `.proto` file."""
