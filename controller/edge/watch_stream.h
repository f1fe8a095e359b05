// One WatchJob stream: the job as it is, and again after each change; a slow reader gets the newest form only.
#pragma once

#include <boost/asio/post.hpp>
#include <memory>
#include <optional>

#include "controller/edge/job_watch.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::controller {

class WatchStream : public grpc::ServerWriteReactor<v1::Job>,
                    public JobWatcher,
                    public std::enable_shared_from_this<WatchStream> {
 public:
  explicit WatchStream(Context& context)
      : x_context(context), x_strand(boost::asio::make_strand(context.workers.get_executor())) {}
  void start(JobWatch& watch, const core::JobRef& ref);

 private:
  bool on_job(const core::JobView* view) override;  // loop's thread
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  template <class Task>
  void on_strand(Task task) {
    boost::asio::post(x_strand, [self = shared_from_this(), task = std::move(task)]() mutable { task(*self); });
  }
  void pump();
  void finish(grpc::Status status);

  Context& x_context;
  std::string x_last;  // the form that was shown last; loop's thread

  boost::asio::strand<boost::asio::thread_pool::executor_type> x_strand;
  std::optional<v1::Job> x_next;
  std::optional<grpc::Status> x_end;
  v1::Job x_out;
  bool x_writing = false, x_finished = false;
  std::shared_ptr<WatchStream> x_self;
};

}  // namespace trainyard::controller
