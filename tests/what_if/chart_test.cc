// The picture: the same bytes every time, well formed, with a line and a legend for every scenario.
#include "simulate/chart.h"

#include <cmath>
#include <map>
#include <regex>

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

// One panel, as somebody with a ruler reads it.
struct Reading {
  std::map<std::string, double> x_of, y_of;  // of the axes' labels
  std::vector<std::pair<double, double>> curve;

  // At a label of the axis below: the label beside the curve; "" between two.
  std::string at(const std::string& label) const {
    const double x = x_of.at(label);
    const auto nearest = std::min_element(curve.begin(), curve.end(), [&](const auto& a, const auto& b) {
      return std::abs(a.first - x) < std::abs(b.first - x);
    });
    for (const auto& [name, y] : y_of) {
      if (std::abs(nearest->second - y) < 0.6) return name;
    }
    return "";
  }
};

Reading read_panel(const std::string& svg, const std::string& title) {
  Reading reading;
  const std::size_t begin = svg.find(">" + title + "<"), end = svg.find("font-weight", begin);
  REQUIRE(begin != std::string::npos);
  const std::string panel = svg.substr(begin, end - begin);
  const std::regex label(R"re(<text x="([0-9.]+)" y="([0-9.]+)" text-anchor="(end|middle)">([^<]*)<)re");
  for (std::sregex_iterator it(panel.begin(), panel.end(), label), none; it != none; ++it) {
    const bool left = (*it)[3] == "end";
    (left ? reading.y_of : reading.x_of)[(*it)[4]] = left ? std::stod((*it)[2]) - 4 : std::stod((*it)[1]);
  }
  std::smatch points;
  REQUIRE(std::regex_search(panel, points, std::regex(R"re(points="([^"]*)")re")));
  std::istringstream words(points[1]);
  char comma = 0;
  for (std::pair<double, double> point; words >> point.first >> comma >> point.second;) reading.curve.push_back(point);
  REQUIRE(reading.curve.size() > 100);
  return reading;
}

}  // namespace

TEST_CASE("what the curves show is what happened") {
  // Half the cluster for an hour, while the other job waits; then all of it.
  const std::string svg = draw({run(trace_of("0 2 60\n0 4 60"), scenario_of("conservative", 4))});
  const Reading used = read_panel(svg, "GPUs in use"), waiting = read_panel(svg, "Jobs waiting");
  for (const char* time : {"0 min", "15 min", "45 min"}) {
    CHECK(used.at(time) == "50");
    CHECK(waiting.at(time) == "1");
  }
  for (const char* time : {"75 min", "105 min", "120 min"}) {
    CHECK(used.at(time) == "100");
    CHECK(waiting.at(time) == "0");
  }
  const Reading waits = read_panel(svg, "How long jobs waited");
  for (const char* wait : {"0", "10 s", "10 min"}) CHECK(waits.at(wait) == "50");
  CHECK(waits.at("1 h") == "100");
  // Of four jobs of an hour on one node each waits an hour longer than the one before.
  const Reading queue = read_panel(draw({run(trace_of("0 1 60\n0 1 60\n0 1 60\n0 1 60"), scenario_of("fifo", 1))}),
                                   "How long jobs waited");
  CHECK(queue.at("10 min") == "");  // 25 %, between 20 and 40
  const double height = queue.y_of.at("20") - queue.y_of.at("100");
  const auto percent_at = [&](double knots_right) {
    const double x = queue.x_of.at("1 h") + knots_right * (queue.x_of.at("6 h") - queue.x_of.at("1 h"));
    double y = 0;
    for (const auto& point : queue.curve) {
      if (point.first <= x) y = point.second;
    }
    return 100 - 80 * (y - queue.y_of.at("100")) / height;
  };
  CHECK(percent_at(0.1) == Approx(50).margin(0.5));
  CHECK(percent_at(0.3) == Approx(75).margin(0.5));  // 2 h is a fifth of the way from 1 h to 6 h
  CHECK(percent_at(0.5) == Approx(100).margin(0.5));
}

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
