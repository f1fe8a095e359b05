// A sample as the bytes of a row: small, because there are millions. Percentages and watts are kept to a hundredth,
// memory to a KiB; a GPU is a number that stands for its UUID. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/counters.h"

namespace trainyard::storage {

// `number_of` gives a GPU's number; a GPU for which it has none is left out.
std::string encode_sample(const CounterSample& sample,
                          const std::function<std::optional<std::uint64_t>(const std::string& uuid)>& number_of);

// Null for bytes that no encode_sample made. GPUs whose number means nothing any more are left out.
std::optional<CounterSample> decode_sample(
    TimeMs time_ms, std::string_view bytes,
    const std::function<std::optional<std::string>(std::uint64_t number)>& uuid_of);

}  // namespace trainyard::storage
