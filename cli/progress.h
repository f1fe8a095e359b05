// What a person at a terminal sees of things that take longer than a second: one line on stderr that comes and goes,
// and a clean end on Ctrl-C. Where stderr is no terminal, nothing is written.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace trainyard::cli {

// "TEXT (N s)" from the first second until it is destroyed. Of nested ones only the outermost shows. Made and used by
// one thread; a thread of its own writes.
class ProgressLine {
 public:
  explicit ProgressLine(std::string text, bool wanted = true);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void say(std::string text);                // the line from now on
  void remark(const std::string& sentence);  // a line that stays, terminal or not

 private:
  void run();

  std::mutex x_mutex;
  std::condition_variable x_changed;
  std::string x_text;
  bool x_done = false;
  std::thread x_thread;  // none: not on a terminal, or nested
};

// Before something else is written: takes the line away if it is there.
void hide_progress();

// "1.5 MB"
std::string spoken_size(unsigned long long bytes);

// From here on Ctrl-C removes the line, says the note of this moment, and ends the process as
// one that was interrupted: 130 for a shell.
void catch_interrupts();
// What to say when interrupted, e.g. that a delete goes on; a literal, or null.
void set_interrupt_note(const char* note);

}  // namespace trainyard::cli
