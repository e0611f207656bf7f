#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace adanns {
namespace {

// One parallel_for under way. Helpers that come late find no task left and leave.
struct Job {
    Job(int64_t count, const std::function<void(int64_t)>& task) : count(count), task(task) {}

    void work() {
        for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
            try {
                task(i);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(mutex);
                if (!error) error = std::current_exception();
            }
            const std::lock_guard<std::mutex> lock(mutex);
            if (++finished == count) done.notify_all();
        }
    }

    const int64_t count;
    const std::function<void(int64_t)>& task;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable done;
    int64_t finished = 0;
    std::exception_ptr error;
};

class Pool {
   public:
    ~Pool() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
    }

    void help(const std::shared_ptr<Job>& job, int helpers) {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            while (static_cast<int>(workers_.size()) < helpers) workers_.emplace_back([this] { loop(); });
            for (int i = 0; i < helpers; i++) jobs_.push_back(job);
        }
        wake_.notify_all();
    }

   private:
    void loop() {
        for (;;) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
                if (stopping_) return;
                job = std::move(jobs_.front());
                jobs_.pop_front();
            }
            job->work();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    std::vector<std::thread> workers_;
    bool stopping_ = false;
};

// A forked child has none of its parent's threads: it forgets the parent's pool (never joined) and makes its own.
std::unique_ptr<Pool>& pool_slot() {
    static std::unique_ptr<Pool> slot = std::make_unique<Pool>();
    return slot;
}

Pool& pool() {
    static const int registered = pthread_atfork(nullptr, nullptr, [] {
        static_cast<void>(pool_slot().release());
        pool_slot() = std::make_unique<Pool>();
    });
    static_cast<void>(registered);
    return *pool_slot();
}

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task) {
    const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
    if (helpers <= 0) {
        for (int64_t i = 0; i < count; i++) task(i);
        return;
    }
    const auto job = std::make_shared<Job>(count, task);
    pool().help(job, helpers);
    job->work();
    std::unique_lock<std::mutex> lock(job->mutex);
    job->done.wait(lock, [&] { return job->finished == job->count; });
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace adanns
