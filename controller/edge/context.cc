#include "controller/edge/context.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <boost/asio/post.hpp>

#include "proto/names.h"

namespace trainyard::controller {
namespace {

std::string hex(const unsigned char* bytes, std::size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out(count * 2, '0');
  for (std::size_t i = 0; i < count; ++i) {
    out[2 * i] = kDigits[bytes[i] >> 4];
    out[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return out;
}

grpc::ServerUnaryReactor* refuse(grpc::CallbackServerContext* context, const Error& error) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(to_grpc(error));
  return reactor;
}

}  // namespace

grpc::Status to_grpc(const Error& error) {
  using G = grpc::StatusCode;
  const auto code = [&] {
    switch (error.code) {
      case Code::ok:
        return G::OK;
      case Code::invalid_argument:
        return G::INVALID_ARGUMENT;
      case Code::not_found:
        return G::NOT_FOUND;
      case Code::already_exists:
        return G::ALREADY_EXISTS;
      case Code::permission_denied:
        return G::PERMISSION_DENIED;
      case Code::unauthenticated:
        return G::UNAUTHENTICATED;
      case Code::resource_exhausted:
        return G::RESOURCE_EXHAUSTED;
      case Code::failed_precondition:
        return G::FAILED_PRECONDITION;
      case Code::aborted:
        return G::ABORTED;
      case Code::unavailable:
        return G::UNAVAILABLE;
      case Code::deadline_exceeded:
        return G::DEADLINE_EXCEEDED;
      case Code::unimplemented:
        return G::UNIMPLEMENTED;
      case Code::data_loss:
        return G::DATA_LOSS;
      case Code::internal:
        return G::INTERNAL;
    }
    return G::UNKNOWN;
  }();
  return {code, error.message};
}

std::string random_hex(std::size_t bytes) {
  unsigned char buffer[64];
  TY_CHECK(bytes <= sizeof buffer && RAND_bytes(buffer, static_cast<int>(bytes)) == 1);
  return hex(buffer, bytes);
}

std::string random_uuid() {
  std::string text = random_hex(16);
  text[12] = '4';
  text[16] = "89ab"[static_cast<unsigned>(text[16]) % 4];
  for (const std::size_t at : {8, 13, 18, 23}) text.insert(at, "-");
  return text;
}

std::string fingerprint_of(const std::string& principal, const google::protobuf::Message& request) {
  std::string text = principal + '\0' + request.GetDescriptor()->full_name() + '\0';
  {
    google::protobuf::io::StringOutputStream stream(&text);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&out);
  }
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return hex(digest, sizeof digest);
}

Status Context::send(core::Command command, Work work, Answer answer) {
  if (work == Work::adds && !store.accepts_new_work()) {
    return Error{Code::resource_exhausted,
                 "the controller's state disk is nearly full: nothing new is taken until its operator frees "
                 "space; what runs goes on, and jobs can be terminated and deleted"};
  }
  auto waiting = std::make_unique<Waiting>();
  waiting->answer = std::move(answer);
  const core::Ticket ticket = tickets.take(waiting);
  if (ticket == 0) return inbox_full();
  command.ticket = ticket;
  if (loop.post(std::move(command))) return {};
  tickets.give_back(ticket);
  return inbox_full();
}

grpc::ServerUnaryReactor* Context::post(grpc::CallbackServerContext* context, const google::protobuf::Message& request,
                                        const std::string& request_id, Work work, Result<core::CommandBody> body,
                                        Fill fill) {
  if (const Status status = check_request_id(request_id); !status) return refuse(context, status.error());
  if (!body) return refuse(context, body.error());
  core::Command command;
  command.request_id = request_id;
  command.principal = principal_of(*context);
  if (!request_id.empty()) command.fingerprint = fingerprint_of(command.principal, request);
  command.body = std::move(body).value();

  auto* reactor = context->DefaultReactor();
  const Status sent = send(
      std::move(command), work,
      [reactor, fill = std::move(fill)](const Result<core::Subject>& result, const core::State& state, TimeMs now_ms) {
        reactor->Finish(result ? fill(state, *result, now_ms) : to_grpc(result.error()));
      });
  if (!sent) reactor->Finish(to_grpc(sent.error()));
  return reactor;
}

grpc::ServerUnaryReactor* Context::read(grpc::CallbackServerContext* context,
                                        std::function<grpc::Status(const core::State&, TimeMs)> read) {
  auto* reactor = context->DefaultReactor();
  const bool taken = loop.query([reactor, read = std::move(read)](const core::State& state, TimeMs now_ms) {
    reactor->Finish(read(state, now_ms));
  });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

grpc::ServerUnaryReactor* Context::read_list(
    grpc::CallbackServerContext* context,
    std::function<Result<std::function<void()>>(const core::State&, TimeMs)> collect) {
  auto* reactor = context->DefaultReactor();
  const bool taken = loop.query([this, reactor, collect = std::move(collect)](const core::State& state, TimeMs now_ms) {
    auto convert = collect(state, now_ms);
    if (!convert) return reactor->Finish(to_grpc(convert.error()));
    boost::asio::post(workers, [reactor, convert = std::move(convert).value()] {
      convert();
      reactor->Finish(grpc::Status::OK);
    });
  });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

}  // namespace trainyard::controller
