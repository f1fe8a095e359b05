// `trainyard simulate` as a user runs it; it needs no controller, so nothing here has one.
#include "tests/cli/run_program.h"

using namespace trainyard::cli::test;

namespace {

// On 4 nodes: an hour on 2, an hour on all 4, half an hour on 2.
const char* const kTrace =
    "submit_s,user,workspace,nodes,gpus_per_node,duration_s,limit_s,priority\n"
    "0,ann,vision,2,0,3600,3600,normal\n"
    "0,bob,nlp,4,0,3600,3600,normal\n"
    "0,ann,vision,2,0,1800,1800,normal\n";

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("simulate: policies side by side, as a table and as JSON, the same bytes every time") {
  if (!have_program()) return;
  const Folder folder;
  std::ofstream(folder / "jobs.csv") << kTrace;
  const std::string base = "simulate --trace '" + (folder / "jobs.csv") + "' --nodes 4 --gpus-per-node 1 ";
  const Ran table = run(base + "--policy easy --policy fifo -o table");
  CHECK(table.code == 0);
  CHECK_THAT(table.text, Catch::StartsWith("Figure"));
  CHECK_THAT(table.text,
             Catch::Contains("\nGPUs in use                              87.50 %                70.00 %\n"));
  CHECK_THAT(table.text, Catch::Contains("\nwait: mean / median / 95 %               20m00s / 0s / 1h00m"));
  const std::string both = base + "--policy easy --what-if nodes=8 --svg '" + (folder / "picture.svg") + "'";
  const Ran json = run(both + " --query \"scenarios[].[label, wait.mean, utilisation]\" -o tsv");
  CHECK(json.text == "easy\t1200.0\t0.875\neasy nodes=8\t0.0\t0.875\n");
  const std::string picture = contents(folder / "picture.svg");
  CHECK_THAT(picture, Catch::StartsWith("<svg ") && Catch::Contains(">easy nodes=8: "));
  const Ran once = run(both), again = run(both);
  CHECK(once.code == 0);
  CHECK(once.text == again.text);
  CHECK(picture == contents(folder / "picture.svg"));
}

TEST_CASE("simulate: a packed trace, a part of it, assumed limits") {
  if (!have_program()) return;
  const Folder folder;
  std::ofstream(folder / "philly.csv") << "timestamp,duration,num_gpus,gpu_time,cluster\n"
                                          "2017-10-09 07:00:00,60.0,16,960.0,a\n"
                                          "2017-10-09 08:00:00,60.0,1,60.0,b\n"
                                          "2017-10-10 08:00:00,60.0,1,60.0,b\n";
  REQUIRE(run_shell("gzip '" + (folder / "philly.csv") + "'").code == 0);
  const Ran ran = run("simulate --trace '" + (folder / "philly.csv.gz") +
                      "' --format philly --nodes 2 --until 2017-10-10 --query \"[jobs, scenarios[0].ended]\" -o tsv");
  CHECK(ran.code == 0);
  CHECK_THAT(ran.text, Catch::Contains("philly.csv.gz: 2 of 2 jobs have no time limit: 2 times their run time is "
                                       "assumed\n"));
  CHECK_THAT(ran.text, Catch::EndsWith("\n2\n2\n"));
}

TEST_CASE("simulate: what is wrong is said, with file, line and column") {
  if (!have_program()) return;
  const Folder folder;
  std::ofstream(folder / "jobs.csv") << "submit_s,duration_s\n0,5\n1,long\n";
  const std::string trace = "simulate --trace '" + (folder / "jobs.csv") + "' ";
  const auto refused = [](const std::string& line, const std::string& words) {
    const Ran ran = run(line);
    CHECK(ran.code == 2);
    CHECK_THAT(ran.text, Catch::Contains(words));
  };
  refused(trace + "--nodes 4", "jobs.csv:3: column duration_s: \"long\": must be a whole number from 0 to ");
  refused(trace, "either --nodes (and --gpus-per-node) or --cluster");
  refused(trace + "--nodes 4 --cluster x.json", "either --nodes (and --gpus-per-node) or --cluster");
  refused(trace + "--nodes 4 --what-if node=5",
          "--what-if: \"node\" cannot be changed; what can: policy=NAME, nodes=N");
  refused(trace + "--nodes 4 --from yesterday", "--from: \"yesterday\" must be a second of the trace, or look like ");
  refused("simulate --trace /nonexistent/x.csv --nodes 4", "/nonexistent/x.csv: cannot be read");
  refused("simulate --nodes 4", "--trace is required; see `trainyard simulate --help`");
}

TEST_CASE("simulate export asks the controller") {
  if (!have_program()) return;
  const Ran ran = run("simulate export -g g -w w --retry-for 0");
  CHECK(ran.code == 4);
  CHECK_THAT(ran.text, Catch::Contains("127.0.0.1:1"));
  const Ran help = run("simulate export --help");
  CHECK_THAT(help.text, Catch::Contains("trainyard simulate export -g mygroup -w batchaidev > jobs.csv"));
}
