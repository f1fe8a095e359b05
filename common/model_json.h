// JSON forms of the shared structs: what the store keeps in its `body` columns, the agent in its spool, and
// `launch_json` on the wire. Unknown keys are ignored and missing ones keep their defaults, so that neighbours of one
// version understand each other. from_json throws nlohmann::json::exception on wrong types: callers parse at an edge.
#pragma once

#include <nlohmann/json.hpp>

#include "common/model.h"
#include "common/result.h"

namespace trainyard {

#define TY_JSON(type)                         \
  void to_json(nlohmann::json&, const type&); \
  void from_json(const nlohmann::json&, type&);
TY_JSON(NamedValue)
TY_JSON(SealedValue)
TY_JSON(FileShareMount)
TY_JSON(BlobMount)
TY_JSON(FileServerMount)
TY_JSON(UnmanagedMount)
TY_JSON(ContainerOptions)
TY_JSON(InputDirectory)
TY_JSON(OutputDirectory)
TY_JSON(Recovery)
TY_JSON(Topology)
TY_JSON(JobSpec)
TY_JSON(ImageMapping)
TY_JSON(SetupTask)
TY_JSON(NodeSetup)
TY_JSON(Gpu)
TY_JSON(Fabric)
TY_JSON(Finding)
TY_JSON(Inventory)
TY_JSON(Volume)
TY_JSON(RunAs)
TY_JSON(GangMember)
TY_JSON(Launch)
TY_JSON(ClusterSetup)
TY_JSON(NodeError)
TY_JSON(CleanupPart)
TY_JSON(CleanupReceipt)
#undef TY_JSON

// Names used in JSON, on the wire and for people.
const char* name_of(HoldingState state);
const char* name_of(HoldingPhase phase);
const char* name_of(Toolkit toolkit);               // custom, custommpi, horovod, ...: Batch AI's toolType
const char* name_of(CommunicationBackend backend);  // tcp, gloo, nccl, mpi
// low, normal, high; of a class of the operator's its number, which outlives its name.
std::string name_of(Priority priority);
std::optional<Priority> priority_named(const std::string& name);
const char* name_of(Volume::Kind kind);  // local, nfs, smb, s3, azureBlob, command
std::optional<Volume::Kind> volume_kind_named(const std::string& name);
const char* name_of(Fabric::Kind kind);  // infiniband, roce
std::optional<Fabric::Kind> fabric_kind_named(const std::string& name);
const char* name_of(SetupState state);  // running, done, failed, stopping
std::optional<SetupState> setup_state_named(const std::string& name);
const char* name_of(FileServerState state);  // starting, serving, failed, stopping
std::optional<FileServerState> file_server_state_named(const std::string& name);
std::optional<HoldingState> holding_state_named(const std::string& name);
std::optional<HoldingPhase> holding_phase_named(const std::string& name);

template <class T>
std::string to_json_text(const T& value) {
  return nlohmann::json(value).dump();
}

// Parses text of our own making; an error says what is wrong with it.
template <class T>
Result<T> from_json_text(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<T>();
  } catch (const nlohmann::json::exception& error) {
    return Error{Code::data_loss, error.what()};
  }
}

}  // namespace trainyard
