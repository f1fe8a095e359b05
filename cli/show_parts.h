// Small pieces that every kind's JSON is made of. Pure; show*.cc and job_toolkits.cc use them.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "cli/output.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::cli {

Json when(bool set, const google::protobuf::Timestamp& time);  // null when unset
Json or_null(const std::string& text);                         // null when empty
Json null_if_empty(Json value);
// Of variables whose values nobody is shown.
Json secret_names(const google::protobuf::RepeatedPtrField<v1::NamedValue>& secrets);
// The lists `fileServers` and `unmanagedFileSystems` of a job's or a cluster's mounts; null when empty.
Json file_servers_of(const google::protobuf::RepeatedPtrField<v1::FileServerMount>& mounts);
Json unmanaged_of(const google::protobuf::RepeatedPtrField<v1::UnmanagedFileSystem>& mounts);
Json sorted(const Json& object);  // keys in order, as Batch AI's command line printed them
std::string arm_id(const std::string& group, const std::string& workspace);
// When it became "succeeded": things are made at once. Null while it is being deleted.
template <class Message>
Json provisioned_at(const Message& item) {
  return when(item.has_creation_time() && item.provisioning_state() == "succeeded", item.creation_time());
}
// A record that makes jobs, as one of them: their cluster and spec are read where those of a job are.
template <class Message>
v1::Job as_job(const Message& item) {
  v1::Job job;
  job.set_resource_group(item.resource_group());
  job.set_workspace(item.workspace());
  *job.mutable_spec() = item.spec();
  return job;
}
// Fields of a job's spec; names in it are of the job's workspace.
void add_spec(const v1::Job& job, Json& out);
Json hold_of(bool held, const v1::Hold& hold);                                    // null: nobody holds it
std::string state_of(const std::string& provisioning, const std::string& state);  // "deleting" wins

}  // namespace trainyard::cli
