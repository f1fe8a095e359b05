// Golden scenarios: each tests/scenarios/*.txt is a script; what the core says and decides is compared with the file
// *.out beside it. TRAINYARD_REWRITE=1 writes the .out files anew.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/time.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Script {
 public:
  std::string run(std::istream& input) {
    std::string line;
    while (std::getline(input, line)) {
      if (line.empty() || line[0] == '#') {
        x_out << line << "\n";
        continue;
      }
      x_out << "> " << line << "\n";
      std::istringstream words(line);
      std::string verb;
      words >> verb;
      do_one(verb, words);
      tell();
    }
    return x_out.str();
  }

 private:
  static std::string word(std::istringstream& words) {
    std::string text;
    words >> text;
    return text;
  }
  static int number(std::istringstream& words) { return std::stoi(word(words)); }

  void answer(const Result<Subject>& result) {
    if (!result.ok()) x_out << "  refused: " << result.error().message << "\n";
  }

  void do_one(const std::string& verb, std::istringstream& words) {
    if (verb == "nodes") {
      const int count = number(words);
      x_world.nodes(count, "Standard_NC6", word(words));
    } else if (verb == "cluster") {
      const std::string name = word(words);
      x_world.cluster(name, static_cast<std::uint32_t>(number(words)));
    } else if (verb == "job") {
      submit(words);
    } else if (verb == "exit") {
      const std::string job = word(words);
      x_world.head_exits(job, number(words));
    } else if (verb == "resize") {
      const std::string name = word(words);
      const auto target = static_cast<std::uint32_t>(number(words));
      const std::string option = word(words);
      answer(x_world.resize(name, target,
                            option == "terminate" ? DeallocationOption::terminate
                            : option == "wait"    ? DeallocationOption::wait_for_job_completion
                                                  : DeallocationOption::requeue));
    } else if (verb == "wait") {
      x_world.wait(number(words) * 1000LL);
    } else if (verb == "settle") {
      x_world.settle();
    } else if (verb == "show") {
      show();
    } else {
      do_more(verb, word(words), words);
    }
  }

  void do_more(const std::string& verb, const std::string& name, std::istringstream& words) {
    if (verb == "report") return x_world.report(name);
    if (verb == "cut") return x_world.cut(name);
    if (verb == "heal") return x_world.heal(name);
    if (verb == "reboot") return x_world.reboot(name, word(words));
    if (verb == "slow") return void(x_world.agents.at(name).cleans = x_world.agents.at(name).prepares = false);
    if (verb == "quick") return void(x_world.agents.at(name).cleans = x_world.agents.at(name).prepares = true);
    if (verb == "fence") return answer(x_world.fence(name));
    if (verb == "fence-command") return x_world.step(FenceFinished{name, word(words) == "ok", "as scripted"});
    if (verb == "terminate") return answer(x_world.terminate(name));
    if (verb == "delete-job") return answer(x_world.remove(name));
    if (verb == "delete-cluster") return answer(x_world.command(DeleteCluster{World::cluster_ref(name)}));
    if (verb == "delete-group") return answer(x_world.command(DeleteGroup{name}));
    if (verb == "restart") return x_world.restart_controller();
    FAIL("unknown word in a scenario: " << verb);
  }

  void submit(std::istringstream& words) {
    const std::string name = word(words);
    JobSpec spec = World::spec(static_cast<std::uint32_t>(number(words)));
    const std::string cluster = word(words);
    for (std::string option = word(words); !option.empty(); option = word(words)) {
      if (option == "rerun=gangBroken") spec.recovery.rerun_after = RerunAfter::gang_broken;
      if (option == "onNodeLoss=fail") spec.recovery.on_node_loss = OnNodeLoss::fail;
      if (option == "lease=forever") spec.recovery.lease_ms = kForever;
    }
    answer(x_world.command(SubmitJob{World::job_ref(name), World::cluster_ref(cluster), spec, {}, "u"}));
  }

  std::string since_start(TimeMs time) const {
    std::ostringstream text;
    text << "+" << (time - kStart) / 1000 << "s";
    return text.str();
  }

  void tell() {
    for (; x_told < x_world.timeline.size(); ++x_told) {
      const TimelineLine& line = x_world.timeline[x_told];
      x_out << "  " << since_start(line.at_ms) << " " << line.subject << ": " << line.what;
      if (!line.why.empty()) x_out << " (" << line.why << ")";
      x_out << " by " << line.who << "\n";
    }
    for (const RunFence& fence : x_world.said<RunFence>())
      x_out << "  run the fence command on " << fence.node_name << "\n";
    for (const Refuse& refuse : x_world.said<Refuse>())
      x_out << "  refuse " << refuse.node_name << " " << refuse.epoch << "\n";
    x_world.forget();
  }

  void show() {
    const State& state = x_world.state();
    for (const auto& [id, row] : state.clusters) {
      const ClusterView seen = view(state, row);
      x_out << "  cluster " << row.name << ": " << (row.resizing ? "resizing" : "steady") << ", "
            << seen.current_node_count << " nodes: " << seen.counts.idle << " idle, " << seen.counts.running
            << " running, " << seen.counts.preparing << " preparing, " << seen.counts.unusable << " unusable, "
            << seen.counts.leaving << " leaving" << (seen.reason.empty() ? "" : "; " + seen.reason) << "\n";
    }
    for (const auto& [id, row] : state.jobs) {
      const JobView seen = view(state, row);
      x_out << "  job " << row.name << ": " << seen.execution_state << "/" << seen.phase << ", attempt " << row.attempt;
      if (row.exit_code) x_out << ", exit code " << *row.exit_code;
      if (!row.receipts.empty()) x_out << ", " << row.receipts.size() << " receipts";
      x_out << (seen.reason.empty() ? "" : "; " + seen.reason) << "\n";
    }
    for (const auto& [id, row] : state.nodes) {
      const NodeView seen = view(state, row, x_world.now);
      x_out << "  node " << row.name << ": " << seen.state
            << (seen.cluster_path.empty() ? "" : " in " + seen.cluster_path);
      for (const std::string& text : seen.running) x_out << ", " << text;
      x_out << (seen.note.empty() ? "" : "; " + seen.note) << "\n";
    }
  }

  World x_world;
  std::ostringstream x_out;
  std::size_t x_told = x_world.timeline.size();
};

}  // namespace

TEST_CASE("golden scenarios") {
  std::vector<std::filesystem::path> scripts;
  for (const auto& entry : std::filesystem::directory_iterator(SCENARIO_FOLDER)) {
    if (entry.path().extension() == ".txt") scripts.push_back(entry.path());
  }
  std::sort(scripts.begin(), scripts.end());
  REQUIRE(scripts.size() >= 4);
  for (const auto& path : scripts) {
    INFO("scenario " << path.filename().string() << "; TRAINYARD_REWRITE=1 writes what is said now");
    std::istringstream input(read(path));
    const std::string said = Script().run(input);
    std::filesystem::path expected = path;
    expected.replace_extension(".out");
    if (std::getenv("TRAINYARD_REWRITE") != nullptr) std::ofstream(expected) << said;
    CHECK(said == read(expected));
  }
}
