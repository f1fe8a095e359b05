#include "batchai/job_file.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <vector>

#include "batchai/job_toolkits.h"
#include "batchai/json_fields.h"
#include "batchai/mount_fields.h"
#include "batchai/secret_fields.h"

namespace trainyard::batchai {
namespace {

using google::protobuf::util::TimeUtil;
using Need = Fields::Need;

constexpr const char* kObsolete = "a field of an older API version, without a meaning now";

void read_directories(Fields& properties, bool old_file, v1::JobSpec& spec) {
  properties.each("inputDirectories", [&](Fields& directory) {
    v1::InputDirectory* out = spec.add_input_directories();
    out->set_id(directory.text("id", Need::required));
    out->set_path(directory.text("path", Need::required));
  });
  properties.each("outputDirectories", [&](Fields& directory) {
    v1::OutputDirectory* out = spec.add_output_directories();
    out->set_id(directory.text("id", Need::required));
    out->set_path_prefix(directory.text("pathPrefix", Need::required));
    out->set_path_suffix(directory.text("pathSuffix"));
    directory.drop({"type", "createNew"}, kObsolete);
  });
  properties.each("environmentVariables", [&](Fields& variable) {
    v1::NamedValue* out = spec.add_environment_variables();
    out->set_name(variable.text("name", Need::required));
    out->set_value(variable.text("value"));
    if (!variable.has("value") && !old_file) variable.fail("value", "is missing");
  });
  read_secrets(properties, *spec.mutable_secrets());
}

void set_duration(google::protobuf::Duration* out, DurationMs duration) {
  *out = TimeUtil::MillisecondsToDuration(duration);
}

void read_recovery(Fields& properties, v1::JobSpec& spec) {
  if (!properties.has("recovery")) {
    properties.object("recovery");
    return;
  }
  Fields recovery = properties.object("recovery");
  v1::Recovery* out = spec.mutable_recovery();
  out->set_on_node_loss(recovery.one_of(
      "onNodeLoss", {{"requeue", v1::Recovery::ON_NODE_LOSS_REQUEUE}, {"fail", v1::Recovery::ON_NODE_LOSS_FAIL}},
      v1::Recovery::ON_NODE_LOSS_UNSPECIFIED));
  if (const auto most = recovery.whole("maxRequeues", 0)) out->set_max_requeues(static_cast<std::uint32_t>(*most));
  out->set_rerun_after(recovery.one_of(
      "rerunAfter",
      {{"fenced", v1::Recovery::RERUN_AFTER_FENCED}, {"gangBroken", v1::Recovery::RERUN_AFTER_GANG_BROKEN}},
      v1::Recovery::RERUN_AFTER_UNSPECIFIED));
  if (Fields::same_word(recovery.has("lease") ? recovery.text("lease") : "", "forever")) {
    out->set_lease_forever(true);
  } else if (const auto lease = recovery.duration("lease")) {
    set_duration(out->mutable_lease(), *lease);
  }
  if (const auto after = recovery.duration("gangAbortAfter")) set_duration(out->mutable_gang_abort_after(), *after);
  if (const auto grace = recovery.duration("grace")) set_duration(out->mutable_grace(), *grace);
  if (const auto notice = recovery.duration("notice")) set_duration(out->mutable_notice(), *notice);
  recovery.finish();
}

void read_container(Fields& properties, v1::JobSpec& spec) {
  Fields container = properties.object("containerSettings");
  if (!properties.has("containerSettings")) return;
  Fields registry = container.object("imageSourceRegistry", Need::required);
  spec.set_image(registry.text("image", Need::required));
  spec.set_image_server_url(registry.text("serverUrl"));
  Fields credentials = registry.object("credentials");
  spec.set_image_user_name(credentials.text("username", registry.has("credentials") ? Need::required : Need::optional));
  spec.set_image_password(credentials.text("password"));
  if (credentials.has("passwordSecretReference")) {
    credentials.refuse("passwordSecretReference", "there is no key vault; remove the reference");
  }
  credentials.object("passwordSecretReference");
  credentials.finish();
  registry.finish();
  spec.set_shm_size(container.text("shmSize"));
  container.finish();
}

// nodeCount whole nodes, or `resources`: {nodes, gpusPerNode}, or {gpus, maxPerNode}, which is spread evenly over as
// few nodes as can be; with minNodes beside nodeCount or nodes it starts on fewer, too.
void read_resources(Fields& properties, v1::JobSpec& spec) {
  const bool given = properties.has("resources");
  const auto count = properties.whole("nodeCount", 1, given ? Need::optional : Need::required);
  if (count) spec.set_node_count(*count);
  Fields resources = properties.object("resources");
  const auto nodes = resources.whole("nodes", 1), each = resources.whole("gpusPerNode", 1);
  const auto gpus = resources.whole("gpus", 1), most = resources.whole("maxPerNode", 1);
  const auto least = resources.whole("minNodes", 1);
  resources.finish();
  if (!given) return;
  if (least) spec.set_min_node_count(*least);
  if (least && count && !nodes && !each && !gpus && !most) return;
  const bool spread = gpus || most;
  if (spread && least) return properties.fail("resources", "has minNodes, which goes with nodes and gpusPerNode");
  if (spread ? nodes || each || !gpus || !most : !nodes || !each) {
    return properties.fail("resources", "must have nodes and gpusPerNode, or gpus and maxPerNode");
  }
  constexpr std::int32_t kMostGpus = 10'000'000;
  if (spread && (*gpus > kMostGpus || *most > kMostGpus)) {
    return properties.fail("resources", fmt::format("has more than {} GPUs", kMostGpus));
  }
  std::int32_t on = spread ? (*gpus + *most - 1) / *most : *nodes;
  while (spread && *gpus % on != 0) ++on;
  if (count && *count != on) {
    return properties.fail("nodeCount", fmt::format("is {}, but resources make {} nodes: leave it out", *count, on));
  }
  spec.set_node_count(on);
  spec.set_gpus_per_node(spread ? *gpus / on : *each);
}

// low, normal, high or a class of the operator's; in older files a number from -1000 to 1000.
void read_priority(Fields& properties, v1::JobSpec& spec) {
  set_priority(properties.text("schedulingPriority"), spec);
  const auto number = properties.whole("priority", -1000);
  if (!number) return;
  if (*number > 1000) return properties.fail("priority", fmt::format("must be at most 1000, got {}", *number));
  if (properties.has("schedulingPriority")) {
    return properties.fail("priority", "is given together with schedulingPriority: give one of them");
  }
  spec.set_scheduling_priority(*number < 0 ? v1::PRIORITY_LOW : *number > 0 ? v1::PRIORITY_HIGH : v1::PRIORITY_NORMAL);
  properties.warn("priority", fmt::format("a field of an older API version, taken as schedulingPriority {}",
                                          *number < 0   ? "low"
                                          : *number > 0 ? "high"
                                                        : "normal"));
}

void read_topology(Fields& properties, v1::JobSpec& spec) {
  if (!properties.has("topology")) return;
  Fields topology = properties.object("topology");
  v1::Topology& out = *spec.mutable_topology();
  out.set_level(topology.text("level"));
  out.set_required(topology.flag("required"));
  out.set_block_size(topology.whole("blockSize", 1).value_or(0));
  for (std::string& domain : topology.texts("within")) out.add_within(std::move(domain));
  topology.finish();
}

void read_dependencies(Fields& properties, v1::JobSpec& spec) {
  properties.each("dependencies", [&](Fields& item) {
    v1::Dependency& out = *spec.add_dependencies();
    out.set_array(item.has("array"));
    if (out.array() && item.has("job")) item.fail("job", "give one of job and array");
    out.set_job(item.text(out.array() ? "array" : "job", Need::required));
    out.set_condition(item.one_of("condition",
                                  {{"afterOk", v1::Dependency::CONDITION_AFTER_OK},
                                   {"afterAny", v1::Dependency::CONDITION_AFTER_ANY},
                                   {"afterNotOk", v1::Dependency::CONDITION_AFTER_NOT_OK}},
                                  v1::Dependency::CONDITION_AFTER_OK));
  });
}

// jobPreparation, constraints, cluster: objects of which one field counts.
void read_single_fields(Fields& properties, const JobFileOptions& options, v1::JobSpec& spec) {
  if (properties.has("jobPreparation")) {
    Fields preparation = properties.object("jobPreparation");
    spec.set_job_preparation_command_line(preparation.text("commandLine", Need::required));
    preparation.finish();
  }
  Fields constraints = properties.object("constraints");
  if (const auto limit = constraints.duration("maxWallClockTime")) {
    set_duration(spec.mutable_max_wall_clock_time(), *limit);
  }
  if (const auto least = constraints.duration("minWallClockTime")) {
    set_duration(spec.mutable_min_wall_clock_time(), *least);
  }
  constraints.finish();
  Fields cluster = properties.object("cluster");
  spec.set_cluster(cluster.text("id"));
  cluster.finish();
  if (!options.cluster.empty()) spec.set_cluster(options.cluster);
}

// Written for 2017-09-01-preview or 2018-03-01, as its own words say.
bool is_old_file(const Fields& top, const Fields& properties, const std::string& schema) {
  return schema.find("2017-09-01") != std::string::npos || schema.find("2018-03-01") != std::string::npos ||
         top.has("location") || properties.has("priority") || properties.has("experimentName");
}

}  // namespace

std::optional<v1::Priority> priority_of(const std::string& name) {
  for (const auto& [known, priority] :
       {std::pair{"low", v1::PRIORITY_LOW}, {"normal", v1::PRIORITY_NORMAL}, {"high", v1::PRIORITY_HIGH}}) {
    if (Fields::same_word(known, name)) return priority;
  }
  return std::nullopt;
}

void set_priority(const std::string& name, v1::JobSpec& spec) {
  const auto known = priority_of(name);
  spec.set_scheduling_priority(known.value_or(v1::PRIORITY_UNSPECIFIED));
  spec.set_priority_class(known ? "" : name);
}

Result<v1::JobSpec> read_job_file(const std::string& text, const JobFileOptions& options,
                                  std::vector<std::string>& warnings) {
  const auto parsed = parse_file(text, options.file_name);
  if (!parsed) return parsed.error();
  FirstError error;
  Fields top(&*parsed, "", error, &warnings);
  if (!top.has("properties"))
    top.fail("properties", "is missing: a job file is {\"properties\": {\"nodeCount\": ...}}");
  Fields properties = top.object("properties");
  const auto schema = parsed->find("$schema");
  const bool old_file =
      is_old_file(top, properties, schema != parsed->end() && schema->is_string() ? schema->get<std::string>() : "");
  top.drop({"location", "tags"}, kObsolete);
  top.drop({"id", "name", "type"}, "the command line names the job");
  top.finish();

  v1::JobSpec spec;
  read_resources(properties, spec);
  read_topology(properties, spec);
  read_toolkit(properties, spec);
  spec.set_std_out_err_path_prefix(properties.text("stdOutErrPathPrefix", Need::required));
  read_mounts(properties.object("mountVolumes"), {options.storage_account_name, options.storage_account_key},
              mounts_of(spec));
  read_container(properties, spec);
  read_single_fields(properties, options, spec);
  read_priority(properties, spec);
  read_dependencies(properties, spec);
  read_directories(properties, old_file, spec);
  read_recovery(properties, spec);
  properties.drop({"experimentName"}, "the command line names the experiment");
  properties.drop({"toolType"}, "the settings object says it");
  properties.finish();
  if (!error && spec.cluster().empty()) {
    error = Error{Code::invalid_argument,
                  "no cluster: give --cluster NAME, or properties.cluster.id in " + options.file_name};
  }
  if (error) return Error{error->code, error->message};
  return spec;
}

}  // namespace trainyard::batchai
