// Fair share over days: who came late catches up, and from then on everybody has his part. What each had is counted
// from the replay's record alone.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

constexpr std::int64_t kDay_s = 24 * 3600;
constexpr double kHalfLife_s = 7.0 * kDay_s;  // the core's default

// alice of workspace w is alone for a day; then bob of the same workspace and carol of another one come. Each wants
// more than there is, in jobs of all sizes.
Trace late_comers() {
  std::mt19937 random(7);
  Trace trace;
  for (const auto& [user, workspace, from_s] :
       {std::tuple{"alice", "w", std::int64_t{0}}, {"bob", "w", kDay_s}, {"carol", "v", kDay_s}}) {
    for (int i = 0; i < 600; ++i) {
      TraceJob job;
      job.user = user, job.workspace = workspace, job.submit_s = from_s;
      job.nodes = 1 + random() % 3;
      job.duration_s = job.limit_s = kMinute_s * (10 + random() % 111);
      trace.push_back(job);
    }
  }
  return trace;
}

// How far the parts that users had are from what they should have: the largest difference, of all that was had. What
// was had counts half after each half-life.
double error_at(const Trace& trace, const Record& record, std::int64_t at_s) {
  std::map<std::string, double> had;
  double all = 0;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    const JobRecord& job = record.jobs[i];
    const double from_s = static_cast<double>(job.start_ms) / 1000,
                 to_s = std::min(static_cast<double>(job.end_ms) / 1000, static_cast<double>(at_s));
    if (job.start_ms < 0 || from_s >= to_s) continue;
    const auto weight = [&](double time_s) { return std::exp2((time_s - static_cast<double>(at_s)) / kHalfLife_s); };
    const double use = job.gpus * (weight(to_s) - weight(from_s));  // the integral, but for a factor
    had[trace[i].user] += use, all += use;
  }
  double error = 0;
  for (const auto& [user, part] : {std::pair{"alice", 0.25}, {"bob", 0.25}, {"carol", 0.5}})
    error = std::max(error, std::abs(had[user] / all - part));
  return error;
}

std::vector<double> errors(bool fair_share) {
  Scenario scenario = scenario_of("conservative", 8);
  scenario.policy.settings.order = {.fair_share = fair_share, .age_limit_ms = 365LL * 24 * 3600 * 1000};
  const Trace trace = late_comers();
  const Record record = replay(trace, scenario);
  std::vector<double> errors;
  for (const std::int64_t day : {1, 2, 3, 4, 5, 6}) errors.push_back(error_at(trace, record, day * kDay_s));
  return errors;
}

}  // namespace

TEST_CASE("the error of fair shares shrinks day by day, and stays small") {
  const std::vector<double> error = errors(true);
  CAPTURE(error);
  CHECK(error[0] == Approx(0.75));
  CHECK(std::is_sorted(error.begin(), error.begin() + 4, std::greater<>()));
  CHECK(*std::max_element(error.begin() + 3, error.end()) < 0.02);
  CHECK(errors(false).back() > 0.3);  // oldest first: who came first keeps everything
}
