// The Translator service: Batch AI's JSON to the typed API, by the command line's own reader. Any thread; keeps
// nothing.
#pragma once

#include "controller/edge/context.h"
#include "trainyard/v1/translate.grpc.pb.h"

namespace trainyard::controller {

class TranslatorService final : public v1::Translator::CallbackService {
 public:
  explicit TranslatorService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* TranslateJob(grpc::CallbackServerContext*, const v1::TranslateJobRequest*,
                                         v1::TranslateJobResponse*) override;
  grpc::ServerUnaryReactor* TranslateCluster(grpc::CallbackServerContext*, const v1::TranslateClusterRequest*,
                                             v1::TranslateClusterResponse*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
