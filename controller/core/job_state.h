// The life of a job as one constexpr table. Only core's `move` writes Job::state, and only as this table says.
#pragma once

#include <optional>

namespace trainyard::core {

enum class JobState { queued, preparing, starting, running, stopping, succeeded, failed };

// How an attempt ends. The first verdict wins, except that a user's cancel replaces requeue.
enum class Verdict { none, success, failure, cancel, requeue };

enum class JobEvent {
  place,      // nodes were chosen
  all_ready,  // every node of the attempt is prepared
  launched,   // the head reports its process running
  end,        // a verdict was reached
  gone,       // nothing of the attempt is left (clean or fenced everywhere)
};

// nullopt: not allowed in this state. `verdict` is the attempt's verdict, needed for `end` and `gone`.
constexpr std::optional<JobState> next(JobState state, JobEvent event, Verdict verdict) {
  using S = JobState;
  using E = JobEvent;
  switch (state) {
    case S::queued:
      if (event == E::place) return S::preparing;
      if (event == E::end && verdict == Verdict::cancel) return S::failed;
      return std::nullopt;
    case S::preparing:
      if (event == E::all_ready) return S::starting;
      if (event == E::end && verdict != Verdict::none) return S::stopping;
      return std::nullopt;
    case S::starting:
      if (event == E::launched) return S::running;
      if (event == E::end && verdict != Verdict::none) return S::stopping;
      return std::nullopt;
    case S::running:
      if (event == E::end && verdict != Verdict::none) return S::stopping;
      return std::nullopt;
    case S::stopping:
      if (event != E::gone) return std::nullopt;
      if (verdict == Verdict::requeue) return S::queued;
      if (verdict == Verdict::success) return S::succeeded;
      if (verdict == Verdict::failure || verdict == Verdict::cancel) return S::failed;
      return std::nullopt;
    case S::succeeded:
    case S::failed:
      return std::nullopt;
  }
  return std::nullopt;
}

constexpr bool terminal(JobState state) {
  return state == JobState::succeeded || state == JobState::failed;
}

static_assert(next(JobState::queued, JobEvent::place, Verdict::none) == JobState::preparing);
static_assert(next(JobState::running, JobEvent::gone, Verdict::success) == std::nullopt,
              "every attempt ends through stopping");
static_assert(next(JobState::stopping, JobEvent::gone, Verdict::requeue) == JobState::queued);
static_assert(!next(JobState::succeeded, JobEvent::end, Verdict::cancel), "terminal states never change");
static_assert(!next(JobState::failed, JobEvent::place, Verdict::none), "terminal states never change");

}  // namespace trainyard::core
