#include "controller/edge/identity.h"

#include <fmt/format.h>
#include <grpc/grpc_security_constants.h>

#include "trainyard/v1/agent.pb.h"
#include "trainyard/v1/clusters.pb.h"
#include "trainyard/v1/exec.pb.h"
#include "trainyard/v1/experiments.pb.h"
#include "trainyard/v1/groups.pb.h"
#include "trainyard/v1/jobs.pb.h"
#include "trainyard/v1/nodes.pb.h"
#include "trainyard/v1/translate.pb.h"
#include "trainyard/v1/volumes.pb.h"
#include "trainyard/v1/workspaces.pb.h"

namespace trainyard::controller {
namespace {

constexpr std::string_view kUser = "spiffe://trainyard/user/";
constexpr std::string_view kNode = "spiffe://trainyard/node/";

}  // namespace

Identity identity_of(const grpc::AuthContext* context) {
  if (context == nullptr || !context->IsPeerAuthenticated()) return {Identity::Kind::lab, "lab"};
  Identity identity;
  for (const grpc::string_ref& value : context->FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    const std::string_view uri(value.data(), value.size());
    const bool user = uri.starts_with(kUser), node = uri.starts_with(kNode);
    if (!user && !node) continue;
    // A certificate that is for two things is for none.
    if (identity.kind != Identity::Kind::unknown) return {};
    identity.name = std::string(uri.substr(user ? kUser.size() : kNode.size()));
    if (identity.name.empty() || identity.name.find('/') != std::string::npos) return {};
    identity.kind = user ? Identity::Kind::user : Identity::Kind::node;
  }
  return identity;
}

std::string principal_of(const grpc::CallbackServerContext& context) {
  const Identity identity = identity_of(context);
  return identity.kind == Identity::Kind::node ? "node:" + identity.name : identity.name;
}

std::optional<Error> check_node(const Identity& identity, const std::string& node_name) {
  if (identity.kind == Identity::Kind::lab) return std::nullopt;
  if (identity.kind == Identity::Kind::node && identity.name == node_name) return std::nullopt;
  return Error{Code::permission_denied,
               fmt::format("this certificate is for {} \"{}\", not for node \"{}\"",
                           identity.kind == Identity::Kind::node ? "node" : "user", identity.name, node_name)};
}

bool may(const Identity& identity, v1::Role role) {
  if (role == v1::ROLE_UNSPECIFIED) return false;
  switch (identity.kind) {
    case Identity::Kind::lab:
      return true;
    case Identity::Kind::user:
      return role != v1::ROLE_AGENT;
    case Identity::Kind::node:
      return role == v1::ROLE_AGENT;
    case Identity::Kind::unknown:
      return false;
  }
  return false;
}

std::map<std::string, v1::Role> declared_roles() {
  const google::protobuf::FileDescriptor* files[] = {
      v1::FromAgent::descriptor()->file(),  v1::Cluster::descriptor()->file(),
      v1::Experiment::descriptor()->file(), v1::Group::descriptor()->file(),
      v1::Job::descriptor()->file(),        v1::Node::descriptor()->file(),
      v1::Account::descriptor()->file(),    v1::Workspace::descriptor()->file(),
      v1::ExecStart::descriptor()->file(),  v1::TranslateJobRequest::descriptor()->file()};
  std::map<std::string, v1::Role> roles;
  for (const auto* file : files) {
    for (int s = 0; s < file->service_count(); ++s) {
      const auto* service = file->service(s);
      for (int m = 0; m < service->method_count(); ++m) {
        roles[fmt::format("/{}/{}", service->full_name(), service->method(m)->name())] =
            service->method(m)->options().GetExtension(v1::required_role);
      }
    }
  }
  for (const char* method : {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    roles[method] = v1::ROLE_VIEWER;
  }
  return roles;
}

grpc::Status Authoriser::Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata*,
                                 OutputMetadata*) {
  const auto path = metadata.find(":path");
  if (path == metadata.end()) return {grpc::StatusCode::PERMISSION_DENIED, "the call names no method"};
  const std::string method(path->second.data(), path->second.size());
  const auto role = x_roles.find(method);
  if (role == x_roles.end()) return {grpc::StatusCode::UNIMPLEMENTED, "there is no method " + method};
  const Identity identity = identity_of(context);
  if (may(identity, role->second)) return grpc::Status::OK;
  if (identity.kind == Identity::Kind::unknown) {
    return {grpc::StatusCode::PERMISSION_DENIED,
            "the client certificate is for no user and no node: it needs one URI name, spiffe://trainyard/user/NAME or "
            "spiffe://trainyard/node/NAME"};
  }
  return {grpc::StatusCode::PERMISSION_DENIED,
          fmt::format("{} \"{}\" may not call {}: it needs {}", identity.kind == Identity::Kind::node ? "node" : "user",
                      identity.name, method, v1::Role_Name(role->second))};
}

}  // namespace trainyard::controller
