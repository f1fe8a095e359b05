// Job specs and jobs between the API's messages and our structs. Everything a user may get wrong in a job is said here,
// naming the field as it stands in a job file. Pure; any thread.
#pragma once

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/view.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

struct JobSubmission {
  JobSpec spec;
  core::ClusterRef cluster;
  std::vector<core::DependsOn> dependencies;
};
Result<Priority> priority_from_proto(v1::Priority priority);  // unspecified: normal
v1::Priority to_proto(Priority priority);  // of a class of the operator's: the nearest one not above it
void to_proto(const core::Dependency& dependency, v1::Dependency& message);
void to_proto(const core::Hold& hold, v1::Hold& message);
// Checks and converts; `home` is the job's own workspace, in which a plain cluster name is looked up.
Result<JobSubmission> from_proto(const v1::JobSpec& message, const core::WorkspaceRef& home);

// Parts that clusters have too; `field` is the path below "properties.".
// credentials.accountKey of `mount`: one line, because it becomes a line of a client's configuration.
Status check_key(const std::string& mount, const std::string& key);
Result<FileShareMount> mount_from_proto(const std::string& field, const v1::AzureFileShare& message);
Result<std::vector<NamedValue>> variables_from_proto(const std::string& field,
                                                     const google::protobuf::RepeatedPtrField<v1::NamedValue>& message);
// Checked names, without values: whoever has the vault seals those. None may be a name of `environment` too.
Result<std::vector<SealedValue>> secrets_from_proto(const std::string& field,
                                                    const google::protobuf::RepeatedPtrField<v1::NamedValue>& message,
                                                    const std::vector<NamedValue>& environment);
// The names.
void to_proto(const std::vector<SealedValue>& secrets, google::protobuf::RepeatedPtrField<v1::NamedValue>& message);
void to_proto(const FileShareMount& mount, v1::AzureFileShare& message);
void to_proto(const NodeError& error, v1::JobError& message);

void to_proto(const JobSpec& spec, const std::string& cluster_path, v1::JobSpec& message);
void to_proto(const core::JobView& view, v1::Job& message);
void to_proto(const core::TimelineLine& line, v1::TimelineLine& message);

}  // namespace trainyard
