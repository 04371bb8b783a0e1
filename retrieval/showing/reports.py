"""What commands find -> reports."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.showing.report import Card, Report, Section
from retrieval.types import LIKELY, IndexedImage, Match

if TYPE_CHECKING:
    from retrieval.index import Index
    from retrieval.measuring.evaluate import Evaluation
    from retrieval.measuring.metrics import Estimate
    from retrieval.measuring.voting import Examined
    from retrieval.organising.differences import Difference
    from retrieval.organising.duplicates import Duplicates
    from retrieval.organising.groups import Member
    from retrieval.overview.clusters import Clusters
    from retrieval.overview.maps import Point
    from retrieval.overview.outliers import Outlier
    from retrieval.training.result import TrainingResult

SCORE = "The score is the cosine of two vectors: 1 for the same picture, lower for less similar ones."
"""What a score is."""


def of_matches(index: "Index", answers: Sequence[tuple[str, Sequence[Match]]]) -> Report:
    """Return the report of queries: the name of each, and its matches."""
    known = _first_files(index, (match.id for _, matches in answers for match in matches))
    sections = []
    for query, matches in answers:
        path = Path(query)
        lead = Card(path=path.absolute(), mark="query") if path.is_file() else None
        cards = [_of_match(match, known.get(match.id)) for match in matches]
        sections.append(Section(title=query, lead=lead, cards=cards, note="" if cards else "Nothing was found."))
    return Report(title="Similar images", sections=sections, summary=[SCORE])


def _of_match(match: Match, image: IndexedImage | None) -> Card:
    is_likely = match.probability is not None and match.probability >= LIKELY
    likely = "" if match.probability is None else f"{match.probability:.0%} likely related"
    facts = [likely, match.taken or "", *(tag.name for tag in match.tags[:1])]
    lines = [f"score {match.score:.4f}", ", ".join(filter(None, facts))]
    if match.copies:
        lines.append(f"{len(match.copies)} more with the same bytes")
    return Card(path=match.path, image=image, mark="likely" if is_likely else "", lines=[*filter(None, lines)])


def of_duplicates(found: "Duplicates") -> Report:
    """Return the report of groups of duplicates."""
    sections = []
    for number, group in enumerate(found.groups, 1):
        head, *others = (_of_member(member) for member in group.members)
        title = f"Group {number}: {_said(str(group.tier))}"
        sections.append(Section(title=title, lead=head, cards=others))
    count = sum(len(group.others) for group in found.groups)
    sentence = f"{len(found.groups)} groups; {count} files need not be kept. The first file of each group is kept."
    return Report(title="Duplicates", sections=sections, summary=[sentence])


def _of_member(member: "Member") -> Card:
    image = member.image
    mark = "keep" if member.is_kept else _said(str(member.relation))
    size = f"{image.width}x{image.height}, {image.format}, {image.bytes / 1000:,.1f} kB"
    return Card(path=image.path, image=image, mark=mark, lines=[size, member.reason])


def _said(relation: str) -> str:
    return relation.replace("_", " ")


def of_differences(found: Iterable["Difference"]) -> Report:
    """Return the report of files of two folders."""
    titles = {
        "missing": "Missing in the second folder",
        "nearly": "Nearly there",
        "common": "In both",
        "only_there": "Only in the second folder",
    }
    cards: dict[str, list[Card]] = {state: [] for state in titles}
    for item in found:
        said = [] if item.relation is None else [f"{_said(str(item.relation))}: {item.other}"]
        cards[str(item.state)].append(Card(path=item.path, lines=said))
    sections = [Section(title=f"{titles[state]}: {len(those)}", cards=those) for state, those in cards.items() if those]
    return Report(title="Two folders", sections=sections)


def of_clusters(index: "Index", found: "Clusters", most: int = 24) -> Report:
    """Return the report of clusters: of each, the `most` images nearest to its exemplar."""
    known = _first_files(index, (one.id for cluster in found.clusters for one in cluster.members[:most]))
    sections = []
    for cluster in found.clusters:
        size, shown = len(cluster.members), cluster.members[:most]
        cards = [Card(path=one.path, image=known.get(one.id), lines=[f"score {one.score:.4f}"]) for one in shown]
        note = f"{size} images" + (f", the {most} most typical ones are shown" if size > most else "")
        title = f"{cluster.number}. {cluster.name}" if cluster.name else f"Cluster {cluster.number}"
        sections.append(Section(title=title, note=note, cards=cards))
    return Report(title="Clusters", sections=sections, summary=[f"{len(found.rest)} images are in no cluster.", SCORE])


def of_outliers(index: "Index", found: Sequence["Outlier"]) -> Report:
    """Return the report of unusual images."""
    known = _first_files(index, (one.id for one in found))
    cards = [Card(path=one.path, image=known.get(one.id), lines=[f"score {one.score:.4f}"]) for one in found]
    sentence = "The score is the mean cosine with the ten nearest other images: lower is more unusual."
    return Report(title="Unusual images", sections=[Section(title="", cards=cards)], summary=[sentence])


def of_map(index: "Index", found: Sequence["Point"]) -> Report:
    """Return the report of a map."""
    known = _first_files(index, (one.id for one in found))
    cards = [Card(path=one.path, image=known.get(one.id)) for one in found]
    points = [(one.x, one.y) for one in found]
    sentence = "Images that are near each other are alike; a large distance says nothing."
    return Report(title="Map", sections=[Section(title="", cards=cards)], summary=[sentence], points=points)


def of_evaluation(found: "Evaluation") -> Report:
    """Return the report of how good answers are."""
    parts = {"": found.measures} | dict(found.kinds)
    sections = [Section(title=kind, facts=_facts(measures)) for kind, measures in parts.items()]
    count = f"{found.queries} queries among {found.images} images. In brackets: the interval of 95 % confidence."
    return Report(title="Quality", sections=sections, summary=[count])


def of_training(found: "TrainingResult") -> Report:
    """Return the report of a trained network, beside the networks before the training."""
    sections = [Section(title=one.name, facts=_facts(one.measures)) for one in (*found.before, found.after)]
    count = f"{found.queries} queries among held-out images. In brackets: the interval of 95 % confidence."
    epochs = f"The best epoch was {found.best_epoch} of {found.epochs}."
    return Report(title="Training", sections=sections, summary=[count, epochs])


def _facts(measures: Mapping[str, "Estimate"]) -> list[tuple[str, str]]:
    """Return the names of measures, and their values."""
    return [(name, f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})") for name, one in measures.items()]


def of_labels(found: "Examined", most: int) -> Report:
    """Return the report of labels: how well each is recognised, and the `most` most suspicious images."""
    classes = [
        (label, f"{one.pictures} images, precision {one.precision:.4f}, recall {one.recall:.4f}")
        for label, one in found.classes.items()
    ]
    cards = [
        Card(
            path=one.path, mark=one.label, lines=[f"more like: {one.suggested or 'nothing'}", f"score {one.score:.4f}"]
        )
        for one in found.suspicious[:most]
    ]
    summary = [
        f"{found.accuracy:.4f} of {found.pictures} images are recognised as what their label says.",
        "The score is the share of the neighbours' votes for the other label minus the share for its own.",
    ]
    sections = [Section(title="Suspicious images", cards=cards), Section(title="Labels", facts=classes)]
    return Report(title="Labels", sections=sections, summary=summary)


def _first_files(index: "Index", ids: Iterable[int]) -> Mapping[int, IndexedImage]:
    """Return id of an image -> its first file."""
    return {id_: files[0] for id_, files in index.files_of(dict.fromkeys(ids)).items()}
