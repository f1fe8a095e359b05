#include "controller/edge/watch_stream.h"

#include "controller/core/lookup.h"
#include "proto/job_convert.h"

namespace trainyard::controller {

void WatchStream::start(JobWatch& watch, const core::JobRef& ref) {
  x_self = shared_from_this();
  const bool taken = x_context.loop.query([self = x_self, &watch, ref](const core::State& state, TimeMs) {
    const auto id = core::find_job(state, ref);
    if (id) return watch.add(state, *id, self);
    self->on_strand([error = id.error()](WatchStream& stream) { stream.finish(to_grpc(error)); });
  });
  if (!taken) on_strand([](WatchStream& stream) { stream.finish(to_grpc(inbox_full())); });
}

bool WatchStream::on_job(const core::JobView* view) {
  if (view == nullptr) {
    on_strand([](WatchStream& self) {
      self.x_end = grpc::Status(grpc::StatusCode::NOT_FOUND, "the job has been deleted");
      self.pump();
    });
    return false;
  }
  v1::Job job;
  to_proto(*view, job);
  std::string form = job.SerializeAsString();
  const bool ended = core::terminal(view->row.state);
  if (form == x_last && !ended) return true;
  x_last = std::move(form);
  on_strand([job = std::move(job), ended](WatchStream& self) mutable {
    self.x_next = std::move(job);
    if (ended) self.x_end = grpc::Status::OK;
    self.pump();
  });
  return !ended;
}

void WatchStream::pump() {
  if (x_writing || x_finished) return;
  if (!x_next) {
    if (x_end) finish(*x_end);
    return;
  }
  x_out = std::move(*x_next);
  x_next.reset();
  x_writing = true;
  StartWrite(&x_out);
}

void WatchStream::OnWriteDone(bool ok) {
  on_strand([ok](WatchStream& self) {
    self.x_writing = false;
    if (!ok) return self.finish(grpc::Status::CANCELLED);
    self.pump();
  });
}

void WatchStream::OnCancel() {
  on_strand([](WatchStream& self) { self.finish(grpc::Status::CANCELLED); });
}

void WatchStream::finish(grpc::Status status) {
  if (x_finished) return;
  x_finished = true;
  Finish(std::move(status));
}

void WatchStream::OnDone() {
  on_strand([](WatchStream& self) { self.x_self.reset(); });
}

}  // namespace trainyard::controller
