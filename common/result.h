// Result<T>: a value or an Error. The only way expected failures travel in Trainyard; exceptions stay
// inside the adapter that called the throwing library. Thread-compatible value types.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "common/check.h"

namespace trainyard {

// Codes carry the meaning of the gRPC code of the same name, so that the edge maps them one to one.
enum class Code {
  ok = 0,
  invalid_argument,
  not_found,
  already_exists,
  permission_denied,
  unauthenticated,
  resource_exhausted,
  failed_precondition,
  aborted,
  unavailable,
  deadline_exceeded,
  unimplemented,
  data_loss,
  internal,
};

// `message` is complete for the user: what happened, why, and what to do next where that is known.
struct Error {
  Code code = Code::internal;
  std::string message;
  friend bool operator==(const Error&, const Error&) = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : x_state(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : x_state(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return x_state.index() == 0; }
  explicit operator bool() const { return ok(); }
  // REQUIRES: ok()
  const T& value() const& {
    TY_CHECK(ok());
    return std::get<0>(x_state);
  }
  T& value() & {
    TY_CHECK(ok());
    return std::get<0>(x_state);
  }
  T&& value() && {
    TY_CHECK(ok());
    return std::get<0>(std::move(x_state));
  }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  // REQUIRES: !ok()
  const Error& error() const {
    TY_CHECK(!ok());
    return std::get<1>(x_state);
  }

 private:
  std::variant<T, Error> x_state;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : x_error(std::move(error)) {}
  bool ok() const { return !x_error; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    TY_CHECK(!ok());
    return *x_error;
  }

 private:
  std::optional<Error> x_error;
};

using Status = Result<void>;

}  // namespace trainyard
