#include "core/symbols/program.h"

#include <utility>

namespace kitlink {

SyntheticUnit::SyntheticUnit(std::string name) : object_(std::make_unique<ObjectFile>()) {
  object_->path = std::move(name);
  object_->sections.resize(1);
  object_->symbols.resize(1);
  object_->first_global = 1;
}

AtomId SyntheticUnit::Add(const Program& program, const InputSection& section) {
  object_->sections.push_back(section);
  return AtomId(static_cast<uint32_t>(program.atoms.size() + object_->sections.size() - 1));
}

void SyntheticUnit::AddTo(Program* program) {
  Unit unit;
  unit.first_atom = static_cast<uint32_t>(program->atoms.size());
  unit.synthetic = true;
  const UnitId id(static_cast<uint32_t>(program->units.size()));
  unit.rank.member = id.value;
  for (uint32_t s = 0; s < object_->sections.size(); ++s) {
    Atom atom;
    atom.unit = id;
    atom.section = s;
    if (object_->sections[s].kind != SectionKind::kNone) atom.state = Atom::kLive;
    program->atoms.push_back(atom);
  }
  unit.object = std::move(object_);
  program->units.push_back(std::move(unit));
}

}  // namespace kitlink
