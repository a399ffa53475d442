// gRPC's headers are compiled here and instrumented, its library is not: the reference count that orders the end of a
// call after its callbacks cannot be seen. Only accesses made by that very class are left out.

#if defined(__SANITIZE_THREAD__)
extern "C" const char* __tsan_default_suppressions() { return "race_top:grpc::internal::CallbackWithSuccessTag::\n"; }
#endif
