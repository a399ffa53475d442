// A vector in pages: what was read from disk is read page by page when it is first touched, and what is written to disk
// is the pages that were touched.
#ifndef CORE_BASE_PAGED_TABLE_H_
#define CORE_BASE_PAGED_TABLE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "core/base/codec.h"
#include "core/base/digest.h"
#include "core/base/page_source.h"

namespace kitlink {

// Used like a std::vector; references to rows stay valid as long as the rows are there. Whoever gets a row to write to is
// taken to change it. Rows of a page that turns out to be bad, and rows beyond the end of a table that was read, are
// empty, and the PageSource knows. Thread compatible; reading pages in takes care of itself.
template <typename T, size_t kRows>
class PagedTable {
  static_assert((kRows & (kRows - 1)) == 0, "a power of two");
  using Page = std::vector<T>;  // kRows, but for the last one

  template <typename Table, typename Row>
  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = Row*;
    using reference = Row&;
    Iterator(Table* table, size_t at) : table_(table), at_(at) {}
    Row& operator*() const { return (*table_)[at_]; }
    Row* operator->() const { return &(*table_)[at_]; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.at_ == b.at_; }
    friend bool operator!=(const Iterator& a, const Iterator& b) { return a.at_ != b.at_; }

   private:
    Table* table_;
    size_t at_;
  };

 public:
  using value_type = T;
  using iterator = Iterator<PagedTable, T>;
  using const_iterator = Iterator<const PagedTable, const T>;

  PagedTable() = default;
  PagedTable(const PagedTable&) = delete;
  PagedTable& operator=(const PagedTable&) = delete;
  PagedTable(PagedTable&& other) noexcept { Swap(other); }
  PagedTable& operator=(PagedTable&& other) noexcept {
    if (this != &other) {
      clear();
      source_ = nullptr;
      Swap(other);
    }
    return *this;
  }
  ~PagedTable() { clear(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T& operator[](size_t i) const {
    const Page* page = i < size_ ? Touch(i / kRows) : nullptr;
    return ABSL_PREDICT_TRUE(page != nullptr) ? (*page)[i % kRows] : Missing();
  }
  T& operator[](size_t i) {
    Page* page = i < size_ ? Touch(i / kRows) : nullptr;
    if (ABSL_PREDICT_FALSE(page == nullptr)) return Missing();
    // Loops that fill a new table from several threads must not write here.
    if (uint8_t& dirty = state_[i / kRows].dirty; dirty == 0) dirty = 1;
    return (*page)[i % kRows];
  }
  // Has the processor fetch a row that will be read, if its page is there.
  void Prefetch(size_t i) const {
    const Page* page = i < size_ ? std::atomic_ref<Page*>(pages_[i / kRows]).load(std::memory_order_acquire) : nullptr;
    if (page != nullptr && i % kRows < page->size()) __builtin_prefetch(page->data() + i % kRows);
  }
  const T& back() const { return (*this)[size_ - 1]; }
  T& back() { return (*this)[size_ - 1]; }
  iterator begin() { return {this, 0}; }
  iterator end() { return {this, size_}; }
  const_iterator begin() const { return {this, 0}; }
  const_iterator end() const { return {this, size_}; }

  void resize(size_t size) {
    if (size == size_) return;
    const size_t pages = (size + kRows - 1) / kRows;
    // The page that ends the table is another one, or longer or shorter.
    if (size_ % kRows != 0) ResizePage(size_ / kRows, size);
    for (size_t p = pages; p < pages_.size(); ++p) delete pages_[p];
    const size_t first_new = pages_.size();
    pages_.resize(pages, nullptr);
    state_.resize(pages);
    for (size_t p = first_new; p < pages; ++p) {
      pages_[p] = new Page();
      pages_[p]->reserve(kRows);
      ResizePage(p, size);
    }
    if (size < size_ && size % kRows != 0) ResizePage(size / kRows, size);
    size_ = size;
  }
  void push_back(T row) {
    resize(size_ + 1);
    back() = std::move(row);
  }
  template <typename... Arguments>
  T& emplace_back(Arguments&&... arguments) {
    push_back(T(std::forward<Arguments>(arguments)...));
    return back();
  }
  void pop_back() { resize(size_ - 1); }
  void clear() {
    for (Page* page : pages_) delete page;
    pages_.clear();
    state_.clear();
    size_ = 0;
  }

  // Tells the rows that are in memory.
  template <typename Function>
  void ForEachLoaded(Function tell) const {
    for (const Page* page : pages_) {
      if (page == nullptr) continue;
      for (const T& row : *page) tell(row);
    }
  }

  // Memory held, what rows own left out.
  uint64_t bytes() const {
    uint64_t total = pages_.capacity() * sizeof(Page*) + state_.capacity() * sizeof(PageState);
    for (const Page* page : pages_) total += page == nullptr ? 0 : sizeof(Page) + page->capacity() * sizeof(T);
    return total;
  }

  // Puts the pages that changed since they were put last into the encoder's store, and writes the list of all.
  void Encode(Encoder& encoder) const {
    encoder.PutVarint(size_);
    for (size_t p = 0; p < pages_.size(); ++p) {
      if (!state_[p].dirty && !encoder.all_pages()) continue;
      if (!encoder.status().ok()) return;
      Encoder page;
      for (const T& row : *Touch(p)) page.Put(row);
      const ContentId id = encoder.PutBlob(AsBytes(page.bytes()));
      if (!encoder.status().ok()) return;
      state_[p] = {id, 0};
    }
    if (pages_.size() <= kInlinePages) {
      PutIds(0, pages_.size(), &encoder);
      return;
    }
    for (size_t first = 0; first < pages_.size(); first += kIdsInList) {
      Encoder list;
      PutIds(first, std::min(pages_.size(), first + kIdsInList), &list);
      encoder.PutRaw(encoder.PutBlob(AsBytes(list.bytes())).bytes);
    }
  }

  // Reads the list of pages; the pages later, one by one.
  bool Decode(Decoder& decoder) {
    clear();
    source_ = decoder.source();
    uint64_t size = 0;
    if (source_ == nullptr || !decoder.GetVarint(&size) || size > kMostRows) return false;
    const uint64_t pages = (size + kRows - 1) / kRows;
    std::vector<PageState> state;
    if (pages <= kInlinePages) {
      if (!GetIds(pages, &decoder, &state)) return false;
    } else {
      for (uint64_t first = 0; first < pages; first += kIdsInList) {
        ContentId id;
        if (!decoder.Get(&id)) return false;
        const absl::StatusOr<std::string> bytes = source_->Fetch(id);
        if (!bytes.ok()) return false;
        Decoder list(AsBytes(*bytes));
        if (!GetIds(std::min<uint64_t>(pages - first, kIdsInList), &list, &state) || !list.Done()) return false;
      }
    }
    for (const PageState& page : state) source_->Note(page.id);
    state_ = std::move(state);
    pages_.assign(pages, nullptr);
    size_ = size;
    return true;
  }

  static std::string Schema() { return absl::StrCat("table", kRows, "(", SchemaOf<T>(), ")"); }

 private:
  static constexpr size_t kInlinePages = 32;  // a longer list of pages is a list of lists
  static constexpr size_t kIdsInList = 256;
  static constexpr uint64_t kMostRows = uint64_t{1} << 32;

  struct PageState {
    ContentId id;       // of its bytes, when it is not dirty
    uint8_t dirty = 1;  // changed since it was written
  };

  Page* Touch(size_t p) const {
    Page* page = std::atomic_ref<Page*>(pages_[p]).load(std::memory_order_acquire);
    return ABSL_PREDICT_TRUE(page != nullptr) ? page : ReadIn(p);
  }

  Page* ReadIn(size_t p) const {
    std::lock_guard<std::mutex> lock(source_->mutex());
    if (pages_[p] != nullptr) return pages_[p];
    const size_t count = std::min(kRows, size_ - p * kRows);
    auto page = std::make_unique<Page>();
    page->reserve(kRows);
    page->resize(count);
    const absl::StatusOr<std::string> bytes = source_->Fetch(state_[p].id);
    bool good = bytes.ok();
    if (good) {
      Decoder decoder(AsBytes(*bytes), source_);
      for (T& row : *page) good = good && decoder.Get(&row);
      good = good && decoder.Done();
    }
    if (!good) {
      source_->Damage(bytes.ok() ? absl::StrCat("chunk ", state_[p].id.ToHex(), " makes no sense")
                                 : std::string(bytes.status().message()));
      page->clear();
      page->resize(count);
      state_[p].dirty = 1;
    }
    std::atomic_ref<Page*>(pages_[p]).store(page.get(), std::memory_order_release);
    return page.release();
  }

  // Gives page `p` the length that it has in a table of `size` rows.
  void ResizePage(size_t p, size_t size) {
    const size_t begin = p * kRows, count = size > begin ? std::min(kRows, size - begin) : 0;
    if (count == 0) return;
    Page* page = Touch(p);
    page->resize(count);
    state_[p].dirty = 1;
  }

  T& Missing() const {
    if (source_ != nullptr) source_->Damage("a row is missing");
    if (missing_ == nullptr) missing_ = std::make_unique<T>();
    *missing_ = T();
    return *missing_;
  }

  void PutIds(size_t begin, size_t end, Encoder* encoder) const {
    for (size_t p = begin; p < end; ++p) encoder->PutRaw(state_[p].id.bytes);
  }

  static bool GetIds(uint64_t count, Decoder* decoder, std::vector<PageState>* state) {
    if (count * sizeof(ContentId) > decoder->left()) return false;
    for (uint64_t p = 0; p < count; ++p) {
      PageState page;
      page.dirty = 0;
      if (!decoder->Get(&page.id)) return false;
      state->push_back(page);
    }
    return true;
  }

  void Swap(PagedTable& other) {
    std::swap(size_, other.size_);
    pages_.swap(other.pages_);
    state_.swap(other.state_);
    source_.swap(other.source_);
    missing_.swap(other.missing_);
  }

  size_t size_ = 0;
  mutable std::vector<Page*> pages_;  // nullptr: not read in yet
  mutable std::vector<PageState> state_;
  std::shared_ptr<PageSource> source_;  // of pages that are not read in
  mutable std::unique_ptr<T> missing_;
};

}  // namespace kitlink

#endif  // CORE_BASE_PAGED_TABLE_H_
