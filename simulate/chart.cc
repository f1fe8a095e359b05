#include "simulate/chart.h"

#include <algorithm>
#include <iterator>

namespace trainyard::simulate {

namespace {

// All lengths are tenths of a pixel.
constexpr std::int64_t kWidth = 9'600, kLeft = 800, kRight = 300, kPlot = kWidth - kLeft - kRight;
constexpr std::int64_t kPanel = 2'900, kPanelTop = 450, kPlotHeight = 1'800;
constexpr std::int64_t kBins = 220;

// Told apart by the colour-blind, too (Okabe and Ito), and by their dashes in grey.
struct Pen {
  const char *colour, *dashes;
};
constexpr Pen kPens[] = {{"#0072b2", ""},        {"#d55e00", "7 3"},  {"#009e73", "2 2"},
                         {"#cc79a7", "9 2 2 2"}, {"#e69f00", "12 4"}, {"#000000", "1 3"}};

const Pen& pen_of(std::size_t scenario) {
  return kPens[scenario % std::size(kPens)];
}

std::string px(std::int64_t tenths) {
  const std::string sign = tenths < 0 ? "-" : "";
  tenths = std::abs(tenths);
  return sign + std::to_string(tenths / 10) + (tenths % 10 == 0 ? "" : "." + std::to_string(tenths % 10));
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string text_at(std::int64_t x, std::int64_t y, const char* anchor, const std::string& text,
                    const std::string& more = "") {
  return "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" text-anchor=\"" + anchor + "\"" + more + ">" + escaped(text) +
         "</text>\n";
}

std::string line_at(std::int64_t x1, std::int64_t y1, std::int64_t x2, std::int64_t y2, const std::string& more) {
  return "<line x1=\"" + px(x1) + "\" y1=\"" + px(y1) + "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) + "\" " + more +
         "/>\n";
}

struct Tick {
  std::int64_t at = 0;  // from the axis' beginning, of its length kPlot or kPlotHeight
  std::string label;
};

// One panel's frame, and where its lines go.
struct Panel {
  std::int64_t top = 0;
  std::string title, x_title, y_title;
  std::vector<Tick> x_ticks, y_ticks;

  std::string frame() const;
  // `heights`: from the bottom, at kBins + 1 places from left to right.
  std::string curve(const std::vector<std::int64_t>& heights, const Pen& pen) const;
  std::int64_t bottom() const { return top + kPanelTop + kPlotHeight; }
};

std::string Panel::frame() const {
  const std::string grid = "stroke=\"#dddddd\"", axis = "stroke=\"#444444\"";
  std::string out = text_at(kLeft, top + kPanelTop - 120, "start", title, " font-weight=\"bold\" font-size=\"15\"");
  for (const Tick& tick : y_ticks) {
    out += line_at(kLeft, bottom() - tick.at, kLeft + kPlot, bottom() - tick.at, grid);
    out += text_at(kLeft - 70, bottom() - tick.at + 40, "end", tick.label);
  }
  for (const Tick& tick : x_ticks) {
    out += line_at(kLeft + tick.at, bottom(), kLeft + tick.at, bottom() - kPlotHeight, grid);
    out += text_at(kLeft + tick.at, bottom() + 180, "middle", tick.label);
  }
  out += line_at(kLeft, bottom(), kLeft + kPlot, bottom(), axis);
  out += line_at(kLeft, bottom(), kLeft, bottom() - kPlotHeight, axis);
  out += text_at(kLeft + kPlot / 2, bottom() + 390, "middle", x_title);
  const std::int64_t x = 190, y = bottom() - kPlotHeight / 2;
  return out + text_at(x, y, "middle", y_title, " transform=\"rotate(-90 " + px(x) + " " + px(y) + ")\"");
}

std::string Panel::curve(const std::vector<std::int64_t>& heights, const Pen& pen) const {
  std::string points;
  for (std::size_t i = 0; i < heights.size(); ++i) {
    const auto x = kLeft + static_cast<std::int64_t>(i) * kPlot / kBins;
    points += (i == 0 ? "" : " ") + px(x) + "," + px(bottom() - heights[i]);
  }
  const std::string dashes = *pen.dashes == '\0' ? "" : std::string(" stroke-dasharray=\"") + pen.dashes + "\"";
  return "<polyline fill=\"none\" stroke=\"" + std::string(pen.colour) + "\" stroke-width=\"1.6\"" + dashes +
         " points=\"" + points + "\"/>\n";
}

// Means over the spans of a bin: of the GPUs held, or the jobs waiting.
std::vector<std::int64_t> means_of(const Record& record, TimeMs end_ms, std::int64_t scale,
                                   std::uint32_t Step::*value) {
  std::vector<std::int64_t> means;
  std::size_t at = 0;
  for (std::int64_t bin = 0; bin <= kBins; ++bin) {
    const TimeMs from = bin * end_ms / (kBins + 1), to = std::max((bin + 1) * end_ms / (kBins + 1), from + 1);
    __int128 sum = 0;
    while (at + 1 < record.steps.size() && record.steps[at + 1].at_ms <= from) ++at;
    for (std::size_t i = at; i < record.steps.size() && record.steps[i].at_ms < to; ++i) {
      const TimeMs until = i + 1 < record.steps.size() ? std::min(record.steps[i + 1].at_ms, to) : to;
      sum += static_cast<__int128>(record.steps[i].*value) * (until - std::max(record.steps[i].at_ms, from));
    }
    means.push_back(static_cast<std::int64_t>(sum * scale / (to - from)));
  }
  return means;
}

// The smallest step of 1, 2 or 5 and zeros with at most `most` ticks.
std::int64_t step_for(std::int64_t highest, std::int64_t most) {
  for (std::int64_t zeros = 1;; zeros *= 10) {
    for (const std::int64_t digit : {1, 2, 5}) {
      if (highest <= digit * zeros * most) return digit * zeros;
    }
  }
}

std::vector<Tick> time_ticks(TimeMs end_ms) {
  constexpr DurationMs kMinute = 60'000, kHour = 60 * kMinute, kDay = 24 * kHour;
  constexpr DurationMs kSteps[] = {10'000,    kMinute,    5 * kMinute, 15 * kMinute, kHour,        3 * kHour,
                                   6 * kHour, 12 * kHour, kDay,        2 * kDay,     7 * kDay,     14 * kDay,
                                   30 * kDay, 90 * kDay,  365 * kDay,  3'650 * kDay, 36'500 * kDay};
  DurationMs step = std::end(kSteps)[-1];
  for (const DurationMs each : kSteps) {
    if (end_ms <= 9 * each) {
      step = each;
      break;
    }
  }
  const DurationMs unit = step < kMinute ? 1'000 : step < kHour ? kMinute : step < kDay ? kHour : kDay;
  const char* name = step < kMinute ? " s" : step < kHour ? " min" : step < kDay ? " h" : " d";
  std::vector<Tick> ticks;
  for (TimeMs at = 0; at <= end_ms; at += step) {
    ticks.push_back(
        {static_cast<std::int64_t>(static_cast<__int128>(at) * kPlot / end_ms), std::to_string(at / unit) + name});
  }
  return ticks;
}

std::string utilisation_panel(const std::vector<Outcome>& outcomes, TimeMs end_ms, std::int64_t top) {
  Panel panel{top, "GPUs in use", "time since the first submission", "% of the cluster's GPUs", time_ticks(end_ms), {}};
  for (std::int64_t percent = 0; percent <= 100; percent += 25) {
    panel.y_ticks.push_back({percent * kPlotHeight / 100, std::to_string(percent)});
  }
  std::string out = panel.frame();
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    std::vector<std::int64_t> heights = means_of(outcomes[i].record, end_ms, kPlotHeight, &Step::gpus_held);
    for (std::int64_t& height : heights) height /= std::max<std::int64_t>(1, outcomes[i].record.gpus);
    out += panel.curve(heights, pen_of(i));
  }
  return out;
}

std::string waiting_panel(const std::vector<Outcome>& outcomes, TimeMs end_ms, std::int64_t top) {
  Panel panel{top, "Jobs waiting", "time since the first submission", "jobs in the queue", time_ticks(end_ms), {}};
  constexpr std::int64_t kFine = 1'000;  // means of few jobs are fractions
  std::vector<std::vector<std::int64_t>> means;
  std::int64_t most = 1;
  for (const Outcome& outcome : outcomes) {
    means.push_back(means_of(outcome.record, end_ms, kFine, &Step::jobs_waiting));
    for (const std::int64_t mean : means.back()) most = std::max(most, (mean + kFine - 1) / kFine);
  }
  const std::int64_t step = step_for(most, 5), highest = (most + step - 1) / step * step;
  for (std::int64_t jobs = 0; jobs <= highest; jobs += step) {
    panel.y_ticks.push_back({jobs * kPlotHeight / highest, std::to_string(jobs)});
  }
  std::string out = panel.frame();
  for (std::size_t i = 0; i < means.size(); ++i) {
    for (std::int64_t& mean : means[i]) mean = mean * kPlotHeight / (highest * kFine);
    out += panel.curve(means[i], pen_of(i));
  }
  return out;
}

// Waits go from seconds to weeks: the axis has these at equal distances, and is even between two of them.
struct Knot {
  DurationMs at_ms;
  const char* label;
};
constexpr Knot kKnots[] = {{0, "0"},
                           {10'000, "10 s"},
                           {60'000, "1 min"},
                           {600'000, "10 min"},
                           {3'600'000, "1 h"},
                           {21'600'000, "6 h"},
                           {86'400'000, "1 d"},
                           {604'800'000, "7 d"},
                           {2'592'000'000, "30 d"},
                           {31'536'000'000, "1 y"},
                           {3'153'600'000'000, "100 y"}};

// Of 10,000 jobs that started, how many waited no longer than at each place.
std::vector<std::int64_t> waited_at_most(const Record& record, std::int64_t knots) {
  std::vector<DurationMs> waits;
  for (const JobRecord& job : record.jobs) {
    if (job.start_ms >= 0) waits.push_back(job.start_ms - job.submit_ms);
  }
  std::sort(waits.begin(), waits.end());
  std::vector<std::int64_t> portions;
  for (std::int64_t bin = 0; bin <= kBins; ++bin) {
    const std::int64_t place = bin * knots, knot = std::min(place / kBins, knots - 1), part = place - knot * kBins;
    const DurationMs from = kKnots[knot].at_ms, to = kKnots[knot + 1].at_ms;
    const DurationMs wait = from + static_cast<DurationMs>(static_cast<__int128>(to - from) * part / kBins);
    const auto count = std::upper_bound(waits.begin(), waits.end(), wait) - waits.begin();
    portions.push_back(waits.empty() ? 10'000 : count * 10'000 / static_cast<std::int64_t>(waits.size()));
  }
  return portions;
}

std::string wait_panel(const std::vector<Outcome>& outcomes, std::int64_t top) {
  Panel panel{top,
              "How long jobs waited",
              "time in the queue before the first start (uneven axis)",
              "% that waited at most so long",
              {},
              {}};
  DurationMs longest = 60'000;
  for (const Outcome& outcome : outcomes) longest = std::max(longest, outcome.figures.wait_ms.most);
  std::int64_t knots = 1;
  while (kKnots[knots].at_ms < longest && knots + 1 < static_cast<std::int64_t>(std::size(kKnots))) ++knots;
  for (std::int64_t knot = 0; knot <= knots; ++knot) {
    panel.x_ticks.push_back({knot * kPlot / knots, kKnots[knot].label});
  }
  std::vector<std::vector<std::int64_t>> portions;
  std::int64_t lowest = 9'000;
  for (const Outcome& outcome : outcomes) {
    portions.push_back(waited_at_most(outcome.record, knots));
    lowest = std::min(lowest, portions.back().front());
  }
  lowest = lowest / 1'000 * 1'000;
  const std::int64_t step = 10'000 - lowest > 5'000 ? 2'000 : 10'000 - lowest > 2'000 ? 1'000 : 250;
  for (std::int64_t at = 10'000; at >= lowest; at -= step) {
    const std::string half = at % 100 == 0 ? "" : ".5";
    panel.y_ticks.push_back({(at - lowest) * kPlotHeight / (10'000 - lowest), std::to_string(at / 100) + half});
  }
  std::string out = panel.frame();
  for (std::size_t i = 0; i < portions.size(); ++i) {
    for (std::int64_t& portion : portions[i]) portion = (portion - lowest) * kPlotHeight / (10'000 - lowest);
    out += panel.curve(portions[i], pen_of(i));
  }
  return out;
}

// A row per scenario: what a line looks like and whose it is.
std::string legend(const std::vector<Outcome>& outcomes, std::int64_t top) {
  std::string out;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const std::int64_t y = top + static_cast<std::int64_t>(i) * 220;
    const Pen& pen = pen_of(i);
    const std::string dashes = *pen.dashes == '\0' ? "" : std::string(" stroke-dasharray=\"") + pen.dashes + "\"";
    out += line_at(kLeft, y - 45, kLeft + 500, y - 45,
                   "stroke=\"" + std::string(pen.colour) + "\" stroke-width=\"2.5\"" + dashes);
    const Figures& figures = outcomes[i].figures;
    out += text_at(kLeft + 600, y, "start",
                   outcomes[i].scenario.label + ": " + px(figures.utilisation / 10) + " % in use, mean wait " +
                       spoken(figures.wait_ms.mean) + ", 95 % of jobs at most " + spoken(figures.wait_ms.p95));
  }
  return out;
}

}  // namespace

std::string draw(const std::vector<Outcome>& outcomes) {
  TimeMs end_ms = 1'000;
  for (const Outcome& outcome : outcomes) end_ms = std::max(end_ms, outcome.record.end_ms);
  const std::int64_t head = 500 + static_cast<std::int64_t>(outcomes.size()) * 220, height = head + 3 * kPanel + 100;
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + px(kWidth) + "\" height=\"" + px(height) +
                    "\" viewBox=\"0 0 " + px(kWidth) + " " + px(height) +
                    "\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n"
                    "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
  const std::size_t jobs = outcomes.empty() ? 0 : outcomes.front().figures.jobs;
  out += text_at(kLeft, 300, "start", "trainyard simulate: " + std::to_string(jobs) + " jobs",
                 " font-weight=\"bold\" font-size=\"18\"");
  out += legend(outcomes, 580);
  out += utilisation_panel(outcomes, end_ms, head);
  out += waiting_panel(outcomes, end_ms, head + kPanel);
  out += wait_panel(outcomes, head + 2 * kPanel);
  return out + "</svg>\n";
}

}  // namespace trainyard::simulate
