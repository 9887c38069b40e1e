#include "runtime/io/Pack.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace graft {

namespace {

/// A sequence of the batch: the columns of its tokens, and how many of them are a prompt that may be shared.
struct Sequence {
  int64_t row = 0;
  std::vector<int64_t> columns;
  size_t prompt = 0;
  int64_t length() const { return static_cast<int64_t>(columns.size()); }
  int64_t rest() const { return length() - static_cast<int64_t>(prompt); }
};

/// Sequences with one prompt.
struct Group {
  std::vector<const Sequence *> members;
  int64_t prompt() const { return static_cast<int64_t>(members.front()->prompt); }
  int64_t places() const {
    return std::accumulate(members.begin(), members.end(), prompt(),
                           [](int64_t sum, const Sequence *one) { return sum + one->rest(); });
  }
};

class Packer {
public:
  Packer(const Batch &batch, const PackOptions &options)
      : batch_(batch), options_(options), ids_(batch.integers("input_ids")), mask_(batch.integers("attention_mask")),
        positions_(batch.integers("position_ids")) {}

  Result<std::vector<PackedRow>> run() {
    findSequences();
    Status status;
    for (const Sequence &one : sequences_)
      if (one.length() > options_.capacity)
        status.merge(Status::error(Code::Range,
                                   "has " + std::to_string(one.length()) + " tokens, a packed row holds " +
                                       std::to_string(options_.capacity),
                                   "sequence " + std::to_string(one.row), "compile with a larger batch.packed"));
    GRAFT_RETURN_IF_ERROR(status);
    for (const Group &group : groups())
      place(group);
    std::vector<PackedRow> packed;
    for (const std::vector<Group> &row : rows_)
      packed.push_back(write(row));
    return packed;
  }

private:
  void findSequences() {
    const BatchArray *loss = batch_.find("loss_mask");
    for (int64_t b = 0; b < batch_.sequences; ++b) {
      Sequence one{b, {}, 0};
      bool before = true;
      for (int64_t s = 0; s < batch_.tokens; ++s) {
        size_t at = static_cast<size_t>(b * batch_.tokens + s);
        if (mask_[at] == 0)
          continue;
        before = before && loss && std::visit([&](const auto &values) { return values[at] == 0; }, loss->values);
        one.prompt += options_.sharePrompts && before;
        one.columns.push_back(s);
      }
      if (!one.columns.empty())
        sequences_.push_back(std::move(one));
    }
  }

  /// The tokens and positions of a sequence's prompt.
  std::vector<int64_t> promptOf(const Sequence &one) const {
    std::vector<int64_t> prompt;
    for (size_t k = 0; k < one.prompt; ++k)
      for (const auto &values : {ids_, positions_})
        prompt.push_back(values[static_cast<size_t>(one.row * batch_.tokens + one.columns[k])]);
    return prompt;
  }

  std::vector<Group> groups() const {
    std::vector<Group> all;
    std::map<std::vector<int64_t>, size_t> byPrompt;
    for (const Sequence &one : sequences_) {
      size_t index = all.size();
      if (one.prompt > 0)
        index = byPrompt.try_emplace(promptOf(one), index).first->second;
      if (index == all.size())
        all.emplace_back();
      all[index].members.push_back(&one);
    }
    return all;
  }

  int64_t used(const std::vector<Group> &row) const {
    return std::accumulate(row.begin(), row.end(), int64_t(0),
                           [](int64_t sum, const Group &group) { return sum + group.places(); });
  }

  /// Whole into the first row with room; else from the first row with room for a member on, cut where a row is full.
  void place(const Group &group) {
    for (std::vector<Group> &row : rows_)
      if (used(row) + group.places() <= options_.capacity)
        return row.push_back(group);
    Group part;
    for (const Sequence *one : group.members) {
      int64_t places = part.members.empty() ? group.prompt() : part.places();
      if (places + one->rest() > options_.capacity) {
        rows_.push_back({part});
        part = {};
      }
      part.members.push_back(one);
    }
    rows_.push_back({part});
  }

  PackedRow write(const std::vector<Group> &groups) const {
    Writer writer(*this);
    for (const Group &group : groups)
      writer.add(group);
    return writer.take();
  }

  /// Fills one row from left to right.
  class Writer {
  public:
    explicit Writer(const Packer &packer)
        : packer_(packer), capacity_(packer.options_.capacity), ids_(size()), mask_(size()), positions_(size()),
          segments_(size() * (packer.options_.sharePrompts ? 2 : 1)),
          rows_(static_cast<size_t>(packer.batch_.sequences * packer.batch_.tokens)) {
      row_.holds.resize(static_cast<size_t>(packer.batch_.sequences));
    }

    void add(const Group &group) {
      int64_t prompt = ++segment_, start = row_.places;
      const Sequence &first = *group.members.front();
      for (size_t k = 0; k < first.prompt; ++k)
        put(first, k, prompt, prompt);
      for (const Sequence *one : group.members) {
        row_.holds[static_cast<size_t>(one->row)] = true;
        for (size_t k = 0; k < one->prompt; ++k)
          rows_[at(*one, k)] = start + static_cast<int64_t>(k);
        int64_t own = first.prompt > 0 ? ++segment_ : prompt;
        for (size_t k = one->prompt; k < one->columns.size(); ++k)
          put(*one, k, own, prompt);
      }
    }

    PackedRow take() {
      std::vector<int64_t> shape = {1, capacity_}, segmentShape = shape;
      if (packer_.options_.sharePrompts)
        segmentShape = {1, 2, capacity_};
      row_.arrays = {{"packed.attention_mask", shape, std::move(mask_)},
                     {"packed.input_ids", shape, std::move(ids_)},
                     {"packed.position_ids", shape, std::move(positions_)},
                     {"packed.rows", {packer_.batch_.sequences, packer_.batch_.tokens}, std::move(rows_)},
                     {"packed.segment_ids", segmentShape, std::move(segments_)}};
      return std::move(row_);
    }

  private:
    size_t size() const { return static_cast<size_t>(capacity_); }
    size_t at(const Sequence &one, size_t k) const {
      return static_cast<size_t>(one.row * packer_.batch_.tokens + one.columns[k]);
    }
    void put(const Sequence &one, size_t k, int64_t segment, int64_t alsoReads) {
      auto place = static_cast<size_t>(row_.places);
      ids_[place] = packer_.ids_[at(one, k)];
      mask_[place] = 1;
      positions_[place] = packer_.positions_[at(one, k)];
      segments_[place] = segment;
      if (packer_.options_.sharePrompts)
        segments_[size() + place] = alsoReads;
      rows_[at(one, k)] = row_.places++;
    }

    const Packer &packer_;
    int64_t capacity_, segment_ = 0;
    std::vector<int64_t> ids_, mask_, positions_, segments_, rows_;
    PackedRow row_;
  };

  const Batch &batch_;
  const PackOptions &options_;
  std::span<const int64_t> ids_, mask_, positions_;
  std::vector<Sequence> sequences_;
  std::vector<std::vector<Group>> rows_;
};

} // namespace

Result<std::vector<PackedRow>> packBatch(const Batch &batch, const PackOptions &options) {
  return Packer(batch, options).run();
}

} // namespace graft
