// Many threads push, one takes everything. A push is one compare-and-swap onto a list; the taker exchanges the whole
// list for an empty one and turns it round, so what one thread pushed comes out in its order. No lock, and no ABA:
// single nodes are never taken off.
#pragma once

#include <atomic>
#include <deque>
#include <utility>

namespace trainyard::controller {

template <class T>
class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox() {
    for (Link* link = x_newest.load(std::memory_order_acquire); link;) delete std::exchange(link, link->older);
  }

  // True: it was empty, the taker must be woken. Any thread.
  bool push(T item) {
    Link* older = x_newest.load(std::memory_order_relaxed);
    Link* link = new Link{std::move(item), older};
    // After the exchange the taker may delete `link` at any time: only `older` may be looked at.
    while (!x_newest.compare_exchange_weak(older, link, std::memory_order_release, std::memory_order_relaxed)) {
      link->older = older;
    }
    return older == nullptr;
  }

  // Appends all that is there, oldest first. The taker's thread only.
  void take_all(std::deque<T>& into) {
    Link* oldest = nullptr;
    for (Link* link = x_newest.exchange(nullptr, std::memory_order_acquire); link;) {
      Link* older = std::exchange(link->older, oldest);
      oldest = std::exchange(link, older);
    }
    while (oldest) {
      into.push_back(std::move(oldest->item));
      delete std::exchange(oldest, oldest->older);
    }
  }

 private:
  struct Link {
    T item;
    Link* older;
  };
  std::atomic<Link*> x_newest = nullptr;
};

}  // namespace trainyard::controller
