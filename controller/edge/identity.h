// Who calls, and whether they may: every RPC passes here before its handler runs. With TLS the caller is what its
// certificate is for (a URI name spiffe://trainyard/node/N or spiffe://trainyard/user/U); without TLS (loopback or a
// lab) everybody is the user "lab" with all user roles, and agents are taken at their word. Any thread.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/auth_metadata_processor.h>

#include <map>
#include <optional>
#include <string>

#include "common/result.h"
#include "trainyard/v1/options.pb.h"

namespace trainyard::controller {

struct Identity {
  enum class Kind { lab, user, node, unknown } kind = Kind::unknown;
  std::string name;
};

Identity identity_of(const grpc::AuthContext* context);
inline Identity identity_of(const grpc::CallbackServerContext& context) {
  return identity_of(context.auth_context().get());
}
// Who acted, as the timeline shows it.
std::string principal_of(const grpc::CallbackServerContext& context);
// Null when `identity` may speak for this node; else why not.
std::optional<Error> check_node(const Identity& identity, const std::string& node_name);

bool may(const Identity& identity, v1::Role role);

// "/trainyard.v1.Jobs/CreateJob" -> its declared role, of all methods of trainyard.v1; health and reflection: viewer.
std::map<std::string, v1::Role> declared_roles();

// The interceptor: gRPC calls it for every RPC before the handler and ends the call when it refuses.
class Authoriser : public grpc::AuthMetadataProcessor {
 public:
  Authoriser() : x_roles(declared_roles()) {}
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata* consumed,
                       OutputMetadata* response) override;

 private:
  const std::map<std::string, v1::Role> x_roles;
};

}  // namespace trainyard::controller
