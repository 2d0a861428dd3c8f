"""MedQuAD answers judged by hand against the medical questions of TREC LiveQA 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from medalign.data.files import Row
from medalign.data.medquad import CITATION
from medalign.data.record_source import content_id
from medalign.data.row_source import RowSource
from medalign.data.sources import Drop, Loaded, Service
from medalign.records import PreferencePair, Question, Split

# 4 is the best judgement; the answers judged 3 are right and incomplete, those below are wrong or beside the question.
BEST, GOOD, POOR = 4, 3, 2


class _Judged(NamedTuple):
    place: str
    split: Split | None
    judgment: int
    question: str
    answer: str


class MedQuADJudgedSource(RowSource):
    """For each LiveQA question the best judged answer, against those judged 1 (incorrect) or 2 (related).

    The question's own text is not given: the MedQuAD question that the best answer came with stands for it. The
    answers to a question of which none is judged 3 or 4 are counted and left out.
    """

    name = "medquad_judged"
    description = "Consumer health questions with answers graded 1 to 4 by hand, and the pairs that follow."
    licence = "CC-BY-4.0"
    citation = CITATION
    origin = (
        "medquad_judged:LOCATION, a file or folder of liveqa_question_id, judgment, medquad_question, answer, made "
        "from the QA-TestSet of github.com/abachaa/MedQuAD"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text", "preference")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Judged against a LiveQA question whose text is not given; a poor answer is often on another disease.",
        "Half of the answers are judged incorrect, a tenth excellent.",
        "The answers come from MedQuAD, so the questions repeat those of medquad.",
    )

    def load(self, location: str | None) -> Loaded:
        rows = self.rows(location)
        by_question: dict[str, list[_Judged]] = {}
        for row, split in rows.placed:
            by_question.setdefault(row.text("liveqa_question_id").strip(), []).append(_judged(row, split))
        questions: list[Question] = []
        pairs: list[PreferencePair] = []
        drops: list[Drop] = []
        for number, judged in by_question.items():
            entries = self._graded(number, judged)
            questions += [entry for entry in entries if isinstance(entry, Question)]
            pairs += [entry for entry in entries if isinstance(entry, PreferencePair)]
            drops += [entry for entry in entries if isinstance(entry, Drop)]
        return Loaded(
            questions=tuple(questions),
            pairs=tuple(pairs),
            drops=tuple(drops),
            skipped_files=rows.skipped_files,
        )

    def _graded(self, number: str, judged: Sequence[_Judged]) -> list[Question | PreferencePair | Drop]:
        best = max(judged, key=lambda answer: answer.judgment)
        if best.judgment < GOOD:
            reason = "answer to a question without one judged 3 or 4"
            return [Drop(reason=reason, place=one.place, text=one.question) for one in judged]
        seen = {best.answer}
        drops: list[Drop] = []
        poor: list[str] = []
        aliases: list[str] = []
        for one in judged:
            if one is best:
                continue
            if one.answer in seen:
                drops.append(Drop(reason="the same answer again", place=one.place, text=one.question))
            elif one.judgment == GOOD:
                drops.append(
                    Drop(reason="answer judged 3 beside a better one", place=one.place, text=one.question)
                )
            else:
                (poor if one.judgment <= POOR else aliases).append(one.answer)
            seen.add(one.answer)
        question = Question(
            id=f"{self.name}-{content_id(number, best.question, best.answer)}",
            source=self.name,
            kind="free_text",
            text=best.question,
            answer=best.answer,
            aliases=tuple(aliases),
            distractors=tuple(poor),
            group=number,
            split=best.split,
        )
        pairs = [
            PreferencePair(question_id=question.id, chosen=best.answer, rejected=text, origin="graded")
            for text in poor
        ]
        return [question, *pairs, *drops]


def _judged(row: Row, split: Split | None) -> _Judged:
    return _Judged(
        place=row.where,
        split=split,
        judgment=row.whole_number("judgment", 1, BEST),
        question=row.text("medquad_question"),
        answer=row.text("answer"),
    )
