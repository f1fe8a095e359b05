// The picture: the same bytes every time, well formed, with a line and a legend for every scenario.
#include "simulate/chart.h"

#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

std::vector<Outcome> outcomes(const std::string& lines) {
  const Trace trace = trace_of(lines);
  std::vector<Outcome> all;
  for (const char* policy : {"conservative", "easy", "fifo"}) all.push_back(run(trace, scenario_of(policy, 4)));
  all.back().scenario.label = "fifo <&>";
  return all;
}

}  // namespace

TEST_CASE("a picture of three policies") {
  const std::string lines = "0 2 60\n0 4 60\n0 2 30";
  const std::string svg = draw(outcomes(lines));
  CHECK(svg == draw(outcomes(lines)));
  CHECK(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(count_of(svg, "<polyline") == 9);  // three panels
  CHECK(count_of(svg, ">conservative: 87.5 % in use, mean wait 20m00s, 95 % of jobs at most 1h00m<") == 1);
  CHECK(count_of(svg, ">fifo &lt;&amp;>: 70 % in use") == 1);
  for (const char* title : {">GPUs in use<", ">Jobs waiting<", ">How long jobs waited<", ">% of the cluster's GPUs<",
                            ">jobs in the queue<", ">% that waited at most so long<"}) {
    CHECK(count_of(svg, title) == 1);
  }
  CHECK(svg.find("nan") == std::string::npos);
}

TEST_CASE("a picture of nothing, and of one moment, is still a picture") {
  CHECK(draw({}).ends_with("</svg>\n"));
  CHECK(draw(outcomes("0 5 10")).ends_with("</svg>\n"));
  CHECK(draw(outcomes("0 1 0")).ends_with("</svg>\n"));
}
