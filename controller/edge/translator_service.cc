#include "controller/edge/translator_service.h"

#include <boost/asio/post.hpp>

#include "batchai/job_file.h"

namespace trainyard::controller {

// A file of megabytes takes its time: not on gRPC's threads, and not on the loop's.
grpc::ServerUnaryReactor* TranslatorService::TranslateJob(grpc::CallbackServerContext* context,
                                                          const v1::TranslateJobRequest* request,
                                                          v1::TranslateJobResponse* response) {
  auto* reactor = context->DefaultReactor();
  boost::asio::post(x_context.workers, [reactor, request, response] {
    const std::string file_name = request->file_name().empty() ? "job.json" : request->file_name();
    std::vector<std::string> warnings;
    auto spec =
        batchai::read_job_file(request->text(), {file_name, request->cluster(), request->storage_account_name()}, warnings);
    if (!spec) return reactor->Finish(to_grpc(spec.error()));
    *response->mutable_spec() = std::move(spec).value();
    for (std::string& warning : warnings) response->add_warnings(std::move(warning));
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace trainyard::controller
