#include "storage/row_json.h"

#include <array>

#include "common/model_json.h"

namespace trainyard::storage {

namespace {

using nlohmann::json;

template <class T>
struct Names;  // in the order of the enum

template <>
struct Names<core::JobState> {
  static constexpr std::array all{"queued", "preparing", "starting", "running", "stopping", "succeeded", "failed"};
};
template <>
struct Names<core::Verdict> {
  static constexpr std::array all{"none", "success", "failure", "cancel", "requeue"};
};
template <>
struct Names<core::NodeState> {
  static constexpr std::array all{"unassigned", "preparing", "idle", "running", "leaving", "unusable"};
};
template <>
struct Names<core::VmPriority> {
  static constexpr std::array all{"dedicated", "lowpriority"};
};
template <>
struct Names<core::DeallocationOption> {
  static constexpr std::array all{"requeue", "terminate", "waitforjobcompletion"};
};

template <class T>
const char* name_in(T value) {
  const auto index = static_cast<std::size_t>(value);
  TY_CHECK(index < Names<T>::all.size());
  return Names<T>::all[index];
}

template <class T>
bool value_of(std::string_view name, T& into) {
  for (std::size_t index = 0; index < Names<T>::all.size(); ++index) {
    if (name == Names<T>::all[index]) {
      into = static_cast<T>(index);
      return true;
    }
  }
  return false;
}

// A node's message may hold any bytes; what is not UTF-8 must not stop a commit.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

template <class Read>
Status parse(const std::string& text, Read read) {
  try {
    read(json::parse(text));
    return {};
  } catch (const json::exception& error) {
    return Error{Code::data_loss, error.what()};
  }
}

template <class T>
void read(const json& from, const char* key, T& into) {
  if (auto found = from.find(key); found != from.end()) found->get_to(into);
}

}  // namespace

const char* stored_name(core::JobState state) {
  return name_in(state);
}
const char* stored_name(core::Verdict verdict) {
  return name_in(verdict);
}
const char* stored_name(core::NodeState state) {
  return name_in(state);
}
const char* stored_name(core::VmPriority priority) {
  return name_in(priority);
}
const char* stored_name(core::DeallocationOption option) {
  return name_in(option);
}
bool read_name(std::string_view name, core::JobState& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::Verdict& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::NodeState& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::VmPriority& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::DeallocationOption& into) {
  return value_of(name, into);
}

std::string tags_text(const core::Tags& tags) {
  return tags.empty() ? "{}" : dump(tags);
}

Result<core::Tags> read_tags(const std::string& text) {
  core::Tags tags;
  if (Status status = parse(text, [&](const json& body) { body.get_to(tags); }); !status) return status.error();
  return tags;
}

std::string strings_text(const std::vector<std::string>& strings) {
  return strings.empty() ? "[]" : dump(strings);
}

Result<std::vector<std::string>> read_strings(const std::string& text) {
  std::vector<std::string> strings;
  if (Status status = parse(text, [&](const json& body) { body.get_to(strings); }); !status) return status.error();
  return strings;
}

std::string inventory_text(const Inventory& inventory) {
  return dump(inventory);
}

std::string job_spec_text(const core::Job& job) {
  json body{{"spec", job.spec ? json(*job.spec) : json(JobSpec{})}, {"mapping", job.mapping}};
  if (!job.volumes.empty()) body["volumes"] = job.volumes;
  if (!job.warnings.empty()) body["warnings"] = job.warnings;
  return dump(body);
}

Status read_job_spec(const std::string& text, core::Job& into) {
  return parse(text, [&](const json& body) {
    body.at("spec").get_ref<const json::object_t&>();  // throws when it is anything else
    into.spec = std::make_shared<const JobSpec>(body.at("spec").get<JobSpec>());
    read(body, "mapping", into.mapping);
    read(body, "volumes", into.volumes);
    read(body, "warnings", into.warnings);
  });
}

std::string job_body_text(const core::Job& job) {
  if (job.errors.empty() && job.receipts.empty() && job.last_nodes.empty()) return "{}";
  return dump(json{{"nodes", job.last_nodes}, {"errors", job.errors}, {"receipts", job.receipts}});
}

Status read_job_body(const std::string& text, core::Job& into) {
  return parse(text, [&](const json& body) {
    read(body, "nodes", into.last_nodes);
    read(body, "errors", into.errors);
    read(body, "receipts", into.receipts);
  });
}

}  // namespace trainyard::storage
