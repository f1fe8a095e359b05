// trainyard-gpus: a driver that hangs, hangs here and not in the agent. For every byte on its standard input it
// answers: for "i" with the state of the GPUs (agent/probe/gpu_states.h), for any other with what they are doing
// (agent/probe/counters.h: format_gpus); it ends with its input. The library stays
// initialised meanwhile: without persistence mode each start of it would wake the GPUs up.
#include <unistd.h>

#include "agent/probe/counters.h"
#include "agent/probe/nvml.h"

namespace {

bool write_all(const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(1, text.data() + done, text.size() - done);
    if (wrote <= 0) return false;
    done += static_cast<std::size_t>(wrote);
  }
  return true;
}

}  // namespace

int main() {
  using namespace trainyard::agent;
  auto nvml = Nvml::open();
  if (!nvml) return kNoDriver;
  for (char question = 0; ::read(0, &question, 1) == 1;) {
    std::string answer;
    if (question == 'i') {
      const auto states = nvml->states();
      answer = states ? format_states(*states) : "\n";
    } else {
      answer = format_gpus(nvml->counters());
    }
    if (!write_all(answer)) return 1;
  }
  return 0;
}
