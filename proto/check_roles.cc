// Run by the build: fails it when a method of trainyard.v1 declares no required_role.
#include <cstdio>

#include "trainyard/v1/agent.pb.h"
#include "trainyard/v1/clusters.pb.h"
#include "trainyard/v1/exec.pb.h"
#include "trainyard/v1/experiments.pb.h"
#include "trainyard/v1/groups.pb.h"
#include "trainyard/v1/jobs.pb.h"
#include "trainyard/v1/nodes.pb.h"
#include "trainyard/v1/options.pb.h"
#include "trainyard/v1/translate.pb.h"
#include "trainyard/v1/volumes.pb.h"
#include "trainyard/v1/workspaces.pb.h"

namespace v1 = trainyard::v1;

int main() {
  const google::protobuf::FileDescriptor* files[] = {
      v1::FromAgent::descriptor()->file(),  v1::Cluster::descriptor()->file(),
      v1::Experiment::descriptor()->file(), v1::Group::descriptor()->file(),
      v1::Job::descriptor()->file(),        v1::Node::descriptor()->file(),
      v1::Account::descriptor()->file(),    v1::Workspace::descriptor()->file(),
      v1::ExecStart::descriptor()->file(),  v1::TranslateJobRequest::descriptor()->file()};
  int methods = 0, missing = 0;
  for (const auto* file : files) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto* method = file->service(s)->method(m);
        ++methods;
        if (method->options().GetExtension(v1::required_role) != v1::ROLE_UNSPECIFIED) continue;
        ++missing;
        std::fprintf(stderr, "%s: declares no required_role; add `option (required_role) = ROLE_...;` to it in %s\n",
                     method->full_name().c_str(), file->name().c_str());
      }
    }
  }
  if (methods == 0) std::fprintf(stderr, "check_roles: found no method at all\n");
  return missing == 0 && methods > 0 ? 0 : 1;
}
