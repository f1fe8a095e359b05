// Whether TCP ports of this machine are free. Does not block; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace trainyard::agent {

// The first of them at which somebody listens.
std::optional<std::uint32_t> port_in_use(const std::vector<std::uint32_t>& ports);

}  // namespace trainyard::agent
