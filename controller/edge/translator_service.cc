#include "controller/edge/translator_service.h"

#include <boost/asio/post.hpp>

#include "batchai/cluster_file.h"
#include "batchai/job_file.h"

namespace trainyard::controller {
namespace {

// A file of megabytes takes its time: not on gRPC's threads, and not on the loop's. `read` appends to the warnings.
template <class Request, class Response, class Read>
grpc::ServerUnaryReactor* translate(Context& context, grpc::CallbackServerContext* call, const Request* request,
                                    Response* response, const char* usual_name, Read read) {
  auto* reactor = call->DefaultReactor();
  boost::asio::post(context.workers, [reactor, request, response, usual_name, read] {
    std::vector<std::string> warnings;
    auto spec = read(request->file_name().empty() ? usual_name : request->file_name(), warnings);
    if (!spec) return reactor->Finish(to_grpc(spec.error()));
    *response->mutable_spec() = std::move(spec).value();
    for (std::string& warning : warnings) response->add_warnings(std::move(warning));
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* TranslatorService::TranslateJob(grpc::CallbackServerContext* context,
                                                          const v1::TranslateJobRequest* request,
                                                          v1::TranslateJobResponse* response) {
  return translate(x_context, context, request, response, "job.json",
                   [request](const std::string& name, std::vector<std::string>& warnings) {
                     return batchai::read_job_file(
                         request->text(), {name, request->cluster(), request->storage_account_name()}, warnings);
                   });
}

grpc::ServerUnaryReactor* TranslatorService::TranslateCluster(grpc::CallbackServerContext* context,
                                                              const v1::TranslateClusterRequest* request,
                                                              v1::TranslateClusterResponse* response) {
  return translate(x_context, context, request, response, "cluster.json",
                   [request](const std::string& name, std::vector<std::string>& warnings) -> Result<v1::ClusterSpec> {
                     if (request->text().empty()) return Error{Code::invalid_argument, name + ": is empty"};
                     batchai::ClusterFlags flags;
                     flags.storage_account_name = request->storage_account_name();
                     return batchai::make_cluster_spec(request->text(), name, flags, warnings);
                   });
}

}  // namespace trainyard::controller
