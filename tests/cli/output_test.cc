// Queries, tables and tab-separated values against golden texts.
#include "cli/output.h"

#include <google/protobuf/util/time_util.h>

#include <catch2/catch.hpp>

#include "cli/client.h"
#include "cli/show.h"

using namespace trainyard;
using namespace trainyard::cli;
using google::protobuf::util::TimeUtil;

namespace {

std::string query(const std::string& json, const std::string& expression) {
  const auto result = apply_query(Json::parse(json), expression);
  return result ? result->dump() : "error";
}

v1::Cluster tutorial_cluster() {
  v1::Cluster cluster;
  cluster.set_resource_group("batchai.horovod");
  cluster.set_workspace("batchaidev");
  cluster.set_name("nc6cluster");
  cluster.mutable_spec()->set_vm_size("STANDARD_NC6");
  cluster.mutable_spec()->set_target_node_count(4);
  cluster.set_allocation_state("steady");
  cluster.set_provisioning_state("succeeded");
  cluster.mutable_node_state_counts()->set_idle_node_count(4);
  return cluster;
}

v1::Job waiting_job() {
  v1::Job job;
  job.set_resource_group("g");
  job.set_workspace("w");
  job.set_experiment("e");
  job.set_name("cifar_2");
  job.set_tool_type("horovod");
  job.set_execution_state("queued");
  job.set_provisioning_state("succeeded");
  job.set_reason("needs 4 idle nodes of nc6cluster; 2 idle, 1 running cifar_1, 1 preparing");
  job.mutable_spec()->set_cluster("nc6cluster");
  job.mutable_spec()->set_node_count(4);
  job.mutable_spec()->set_toolkit(v1::TOOLKIT_HOROVOD);
  job.mutable_spec()->set_python_script_file_path("a.py");
  return job;
}

}  // namespace

TEST_CASE("queries pick what JMESPath would") {
  const std::string data = R"({"a": {"b": [{"n": "x", "c": 1}, {"n": "y"}], "deep": [[1, 2], [3]]}, "t": true})";
  CHECK(query(data, "a.b[0].n") == "\"x\"");
  CHECK(query(data, "a.b[-1].n") == "\"y\"");
  CHECK(query(data, "a.b[*].n") == R"(["x","y"])");
  CHECK(query(data, "a.b[].c") == "[1]");
  CHECK(query(data, "a.deep[]") == "[1,2,3]");
  CHECK(query(data, "a.deep[*][0]") == "[1,3]");
  CHECK(query(data, "a.b[?n=='y']") == R"([{"n":"y"}])");
  CHECK(query(data, "a.b[?c!=`1`].n | [0]") == "\"y\"");
  CHECK(query(data, "a.b[].{name: n, count: c}") == R"([{"name":"x","count":1},{"name":"y","count":null}])");
  CHECK(query(data, "a.b[0].[c, n]") == R"([1,"x"])");
  CHECK(query(data, "[t, a.b[0].c]") == "[true,1]");
  CHECK(query(data, "\"t\"") == "true");
  CHECK(query(data, "missing.x[0]") == "null");
  CHECK(query(data, "@.t") == "true");
  CHECK(query("[[{\"a\":1}],[{\"a\":2}]]", "[].a") == "[1,2]");
  for (const char* bad :
       {"a.", "a b", "length(a)", "a[", "a[x]", "[?a]", "a[0:1]", ".a", "a..b", "{a}", "\"a", "a |"}) {
    CHECK(query(data, bad) == "error");
  }
  CHECK(query(data, std::string(1000, '[')) == "error");
}

TEST_CASE("the tutorial's cluster table") {
  CHECK(
      render_table(show_one(tutorial_cluster()).table) ==
      "Name        Resource Group    Workspace    VM Size       State      Idle    Running    Preparing    Leaving    "
      "Unusable\n"
      "----------  ----------------  -----------  ------------  -------  ------  ---------  -----------  ---------  "
      "----------\n"
      "nc6cluster  batchai.horovod   batchaidev   STANDARD_NC6  steady        4          0            0          0    "
      "       0\n");
}

TEST_CASE("node counts as the tutorial asks for them") {
  const auto text = render(show_one(tutorial_cluster()), "json", "nodeStateCounts");
  REQUIRE(text.ok());
  CHECK(*text ==
        "{\n  \"idleNodeCount\": 4,\n  \"leavingNodeCount\": 0,\n  \"preparingNodeCount\": 0,\n"
        "  \"runningNodeCount\": 0,\n  \"unusableNodeCount\": 0\n}\n");
  CHECK(*render(show_one(tutorial_cluster()), "tsv", "nodeStateCounts") == "4\t0\t0\t0\t0\n");
}

TEST_CASE("a job's state and why it waits") {
  const Answer answer = show_one(waiting_job());
  CHECK(*render(answer, "json", "executionState") == "\"queued\"\n");
  CHECK(*render(answer, "tsv", "executionState") == "queued\n");
  CHECK(*render(answer, "table", "executionState") == "Result\n--------\nqueued\n");
  CHECK(render_table(answer.table) ==
        "Name     Cluster     Cluster RG    Cluster Workspace    Tool       Nodes  State    Exit code    Reason\n"
        "-------  ----------  ------------  -------------------  -------  -------  -------  -----------  "
        "------------------------------------------------------------------------\n"
        "cifar_2  nc6cluster  g             w                    horovod        4  queued                needs 4 idle "
        "nodes of nc6cluster; 2 idle, 1 running cifar_1, 1 preparing\n");
}

TEST_CASE("a job shows every field of Batch AI, unset ones as null") {
  v1::Job job = waiting_job();
  job.mutable_spec()->set_cluster(
      "/subscriptions/s/resourceGroups/G2/providers/Microsoft.BatchAI/workspaces/W2/clusters/C2");
  Json shown = Kind<v1::Job>::json(job);
  CHECK(shown["constraints"]["maxWallClockTime"] == "7 days, 0:00:00");
  CHECK(shown["executionInfo"].is_null());
  CHECK(shown["pyTorchSettings"].is_null());
  CHECK(shown["horovodSettings"]["pythonScriptFilePath"] == "a.py");
  CHECK(shown["resourceGroup"] == "g");
  CHECK(cluster_of(job).name == "C2");
  CHECK(cluster_of(job).group == "G2");
  CHECK(cluster_of(job).workspace == "W2");
  job.mutable_execution_info()->set_exit_code(2);
  auto* error = job.mutable_execution_info()->add_errors();
  error->set_code("JobFailed");
  error->set_message("Job failed with non-zero exit code");
  shown = Kind<v1::Job>::json(job);
  CHECK(shown["executionInfo"]["exitCode"] == 2);
  CHECK(shown["executionInfo"]["errors"][0]["code"] == "JobFailed");
  CHECK(shown["executionInfo"]["startTime"].is_null());
}

TEST_CASE("files in the tutorial's table") {
  google::protobuf::RepeatedPtrField<v1::FileEntry> files;
  v1::FileEntry* file = files.Add();
  file->set_name("stdout.txt");
  file->set_size(15);
  *file->mutable_modified() = TimeUtil::MillisecondsToTimestamp(1532541441000);
  v1::FileEntry* directory = files.Add();
  directory->set_name("attempts");
  directory->set_is_directory(true);
  CHECK(render_table(show_all(files).table) ==
        "Name        Type         Size  Modified\n"
        "----------  ---------  ------  ------------------------\n"
        "stdout.txt  file           15  2018-07-25T17:57:21.000Z\n"
        "attempts    directory\n");
}

TEST_CASE("nothing in a cell breaks a line or commands a terminal") {
  const std::string table = render_table(Table{{"Name"}, {{"a\nb\x1b[31mc"}}});
  CHECK(table == "Name\n---------\na b [31mc\n");
  CHECK(render_tsv(Json::parse(R"([["a\tb", null, [1, 2], {"x": 1}, 2.5, true]])")) == "a b\tNone\t2\t\t2.5\ttrue\n");
  CHECK(render_tsv(nullptr) == "");
  CHECK(render_table(show_all(google::protobuf::RepeatedPtrField<v1::Job>()).table) == "");
}

TEST_CASE("addresses become targets without name resolution where possible") {
  CHECK(target_of("127.0.0.1:7470") == "ipv4:127.0.0.1:7470");
  CHECK(target_of("10.0.0.1") == "ipv4:10.0.0.1:7470");
  CHECK(target_of("[::1]:99") == "ipv6:[::1]:99");
  CHECK(target_of("::1") == "ipv6:[::1]:7470");
  CHECK(target_of("head.example:1") == "dns:///head.example:1");
  CHECK(target_of("unix:/run/x") == "unix:/run/x");
  CHECK(new_request_id().size() == 36);
  CHECK(new_request_id() != new_request_id());
}
