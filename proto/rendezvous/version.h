// The release that this tree builds. Client and daemon compare it before they work together.
#ifndef PROTO_RENDEZVOUS_VERSION_H_
#define PROTO_RENDEZVOUS_VERSION_H_

namespace kitlink {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace kitlink

#endif  // PROTO_RENDEZVOUS_VERSION_H_
