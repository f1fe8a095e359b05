// Text forms of what the core's rows hold beyond plain columns: names of enums, and JSON bodies. They are the
// database's format: a name once written keeps its meaning. Readers refuse what they do not understand; the caller
// quarantines it.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::storage {

const char* stored_name(core::JobState state);
const char* stored_name(core::Verdict verdict);
const char* stored_name(core::NodeState state);
const char* stored_name(core::VmPriority priority);
const char* stored_name(core::DeallocationOption option);
const char* stored_name(core::Provisioning state);
const char* stored_name(core::Work work);
const char* stored_name(core::ArrayState state);
bool read_name(std::string_view name, core::JobState& into);
bool read_name(std::string_view name, core::Verdict& into);
bool read_name(std::string_view name, core::NodeState& into);
bool read_name(std::string_view name, core::VmPriority& into);
bool read_name(std::string_view name, core::DeallocationOption& into);
bool read_name(std::string_view name, core::Provisioning& into);
bool read_name(std::string_view name, core::Work& into);
bool read_name(std::string_view name, core::ArrayState& into);

std::string tags_text(const core::Tags& tags);
Result<core::Tags> read_tags(const std::string& text);

std::string strings_text(const std::vector<std::string>& strings);
Result<std::vector<std::string>> read_strings(const std::string& text);

std::string inventory_text(const Inventory& inventory);

// Of a cluster: autoScale, node set-up, volumes; "{}" when it has none of them.
std::string cluster_body_text(const core::Cluster& cluster);
Status read_cluster_body(const std::string& text, core::Cluster& into);

// Ids as an array of numbers.
template <class IdType>
std::string ids_text(const std::vector<IdType>& ids) {
  std::string text;
  for (const IdType id : ids) text += (text.empty() ? "[" : ",") + std::to_string(id.value);
  return text.empty() ? "[]" : text + "]";
}
Result<std::vector<std::uint64_t>> read_numbers(const std::string& text);
template <class IdType>
Result<std::vector<IdType>> read_ids(const std::string& text) {
  const auto numbers = read_numbers(text);
  if (!numbers) return numbers.error();
  std::vector<IdType> ids;
  for (const std::uint64_t number : *numbers) ids.push_back({number});
  return ids;
}

// Of a workspace: its quota; "{}" when it has none.
std::string workspace_body_text(const core::Workspace& workspace);
Status read_workspace_body(const std::string& text, core::Workspace& into);

// Of a node: what became of its cluster's set-up; "{}" when there is none.
std::string node_body_text(const core::Node& node);
Status read_node_body(const std::string& text, core::Node& into);

// Of a file server: what its user asked for, and of one that Trainyard made where it is and how far.
std::string file_server_body_text(const core::FileServer& row);
Status read_file_server_body(const std::string& text, core::FileServer& into);

// What was given at submit and never changes: spec, image mapping, volumes, warnings.
std::string job_spec_text(const core::Job& job);
Status read_job_spec(const std::string& text, core::Job& into);

// Of a job or an array; from its body's members "hold" and "dependencies", throws what from_json throws.
nlohmann::json hold_json(const core::Hold& hold);
std::optional<core::Hold> hold_from(const nlohmann::json& body);
nlohmann::json dependencies_json(const std::vector<core::Dependency>& dependencies);
std::vector<core::Dependency> dependencies_from(const nlohmann::json& body);

// Errors, receipts and nodes of the newest attempt; "{}" for a job that never ran.
std::string job_body_text(const core::Job& job);
Status read_job_body(const std::string& text, core::Job& into);

}  // namespace trainyard::storage
