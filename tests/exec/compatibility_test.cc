// docs/batch-ai-compatibility.md against job_environment: each variable that works, or differs, or is Trainyard's own,
// is set; where the row names toolkits, for those, else for all.
#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <map>

#include "agent/exec/tasks.h"
#include "agent/exec/toolkits.h"
#include "tests/support/batchai/page.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

HoldingPaths paths() {
  HoldingPaths paths;
  paths.job_mount_root = "/w/j/7.2/mounts";
  paths.mount_root = "/w/mounts";
  paths.job_temp = "/w/j/7.2/temp";
  paths.job_temp_dir = "/w/j";
  paths.hostfile = "/w/j/7.2/hostfile";
  paths.id = {JobId{7}, 2};
  return paths;
}

// What every process of a job of the toolkit has: a second attempt on two nodes, with a share and directories.
std::map<std::string, std::string> environment_of(Toolkit toolkit) {
  Launch launch;
  launch.segment = "s/g/workspaces/w/experiments/e/jobs/j/u";
  launch.first_port = 20000;
  launch.spec.toolkit = toolkit;
  launch.spec.node_count = 2;
  launch.spec.python_script_file_path = "train.py";
  launch.spec.command_line = "true";
  launch.spec.std_out_err_path_prefix = "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs";
  launch.spec.input_directories = {{"ONE", "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs/data"}};
  launch.spec.output_directories = {{"ONE", "$AZ_BATCHAI_JOB_MOUNT_ROOT/afs", ""}};
  launch.volumes = {{Volume::Kind::local, "/srv/a/s", "afs"}};
  launch.members = {{"n1", "10.0.0.1"}, {"n2", "10.0.0.2"}};
  NodeFacts facts;
  facts.gpu_count = 2;
  facts.cluster = "group/workspace/nc6cluster";
  std::optional<std::size_t> task;
  if (starts_tasks(launch.spec)) task = 0;
  std::map<std::string, std::string> variables;
  for (const NamedValue& each : job_environment(launch, 0, {"GPU-a", "GPU-b"}, paths(), facts, task)) {
    variables[each.name] = each.value;
  }
  return variables;
}

struct Named {
  const char* name;  // as rows of the page write it
  Toolkit toolkit;
};
constexpr Named kToolkits[] = {{"TensorFlow", Toolkit::tensor_flow}, {"pyTorch", Toolkit::py_torch},
                               {"torchrun", Toolkit::torchrun},      {"jax", Toolkit::jax},
                               {"customMpi", Toolkit::custom_mpi},   {"custom", Toolkit::custom},
                               {"horovod", Toolkit::horovod},        {"caffe2", Toolkit::caffe2}};

bool names_toolkits(const std::string& text) {
  return std::any_of(std::begin(kToolkits), std::end(kToolkits),
                     [&](const Named& each) { return text.find(each.name) != std::string::npos; });
}

}  // namespace

TEST_CASE("every environment variable of the compatibility page is set for the jobs that its row names") {
  int checked = 0;
  for (const PageRow& row : page()) {
    if (row.section != "Environment variables") continue;
    INFO(row.line);
    CHECK((row.verdict == Verdict::works || row.verdict == Verdict::differs || row.verdict == Verdict::own));
    const bool of_some = names_toolkits(row.line);
    for (const Named& toolkit : kToolkits) {
      if (of_some && row.line.find(toolkit.name) == std::string::npos) continue;
      const auto environment = environment_of(toolkit.toolkit);
      for (std::string variable : row.names[0]) {
        if (const auto id = variable.find("<id>"); id != std::string::npos) variable.replace(id, 4, "ONE");
        INFO(toolkit.name << ": " << variable);
        CHECK_FALSE((environment.contains(variable) ? environment.at(variable) : "").empty());
        ++checked;
      }
    }
  }
  CHECK(checked > 100);
}
