"""The documented summary fields, and the sentences that every form of the report repeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kneronnxopt._version import __version__
from ktc.report._format import NOT_AVAILABLE, digits, megabytes, plain, roughly, single_line

if TYPE_CHECKING:
    from ktc.evaluator.evaluation import Evaluation

__all__ = [
    "HTML_NAME",
    "STATEMENT",
    "SummaryField",
    "calibration_sentence",
    "cpu_sentence",
    "error_sentence",
    "messages",
    "summary",
    "tool_version",
]

HTML_NAME = "model_fx_report.html"

STATEMENT = (
    "These figures are estimates by the analytical model of ktc. They do not come from Kneron's tool or "
    "from a chip, and they leave out CPU nodes and the transfer between host and NPU."
)


def tool_version() -> str:
    """Return the name and version of this tool, e.g. ``"ktc/0.1.0"``."""
    return f"ktc/{__version__}"


@dataclass(frozen=True, slots=True)
class SummaryField:
    """One documented field of the summary.

    Attributes
    ----------
    name : str
        Documented name, without the prefix of the platform.
    value : str, float, list of str, or None
        Plain value; None is "not available".
    text : str
        The value as one line of text.
    meaning : str
        The sentence that explains it.
    prefixed : bool
        The text form puts ``kdp<platform>/`` before the name.
    evaluator : bool
        The evaluator has it; the others need a quantised model.
    """

    name: str
    value: str | float | list[str] | None
    text: str
    meaning: str
    prefixed: bool = True
    evaluator: bool = True

    def key(self, platform: str) -> str:
        """Return the documented key of the text form, e.g. ``"kdp720/ip_eval/fps"``."""
        return f"kdp{platform}/{self.name}" if self.prefixed else self.name


def summary(evaluation: Evaluation) -> tuple[SummaryField, ...]:
    """Return every documented field, in the documented order."""
    settings = evaluation.settings
    time_ms, fps = evaluation.time_ms, evaluation.fps
    cpu_nodes = [node.name for node in evaluation.cpu_nodes]
    error = f"expected error {digits(evaluation.expected_error_percent, 3)} %"
    if not evaluation.error_known:
        error = "with figures of the user's own, error unknown"
    comment = f"estimate by an analytical model, {error}"

    def bandwidth(engine: str, value: float, meaning: str) -> SummaryField:
        return SummaryField(f"ip_eval/{engine} bandwidth GB/s", value, f"{value:.6f}", meaning)

    def traffic(name: str, value: int, meaning: str) -> SummaryField:
        return SummaryField(f"ip_eval/{name}", value, megabytes(value), meaning)

    def mode(name: str, value: str) -> SummaryField:
        meaning = f"Bit width that was asked for: {name.removesuffix(' bitwidth')}."
        return SummaryField(name, value, single_line(value), meaning)

    def later(name: str, meaning: str) -> SummaryField:
        return SummaryField(name, None, NOT_AVAILABLE, meaning, evaluator=False)

    return (
        SummaryField("docker_version", tool_version(), tool_version(), "Tool and version.", prefixed=False),
        SummaryField("comments", comment, comment, "Remarks.", prefixed=False),
        mode("input bitwidth", settings.model_in_bitwidth_mode),
        mode("output bitwidth", settings.model_out_bitwidth_mode),
        mode("datapath bitwidth", settings.datapath_bitwidth_mode),
        mode("weight bitwidth", settings.weight_bitwidth_mode),
        SummaryField("ip_eval/fps", fps if time_ms else None, digits(fps), "Inferences per second."),
        SummaryField("ip_eval/ITC(ms)", time_ms, digits(time_ms), "Estimated time of one inference, in ms."),
        bandwidth("RDMA", evaluation.read_bandwidth, "Reading feature maps from DRAM, effective peak."),
        bandwidth("WDMA", evaluation.write_bandwidth, "Writing feature maps to DRAM, effective peak."),
        bandwidth("GETW", evaluation.weight_bandwidth, "Reading weights from DRAM, effective peak."),
        traffic("RV", evaluation.read_bytes, "Read from DRAM per inference, weights excepted."),
        traffic("WV", evaluation.write_bytes, "Written to DRAM per inference."),
        SummaryField(
            "cpu_node",
            list(cpu_nodes),
            ", ".join(map(single_line, cpu_nodes)) or NOT_AVAILABLE,
            "Nodes that fall to the CPU.",
        ),
        later("SNR(dB)", "Signal to noise ratio of the quantised model."),
        later("btm_dynasty_path", "Folder of the bit-true match."),
        later("btm", "Whether two simulations agree bit by bit."),
        later("bie", "Quantised model."),
        later("nef", "Compiled model."),
        later("backend node graph", "Picture of the backend graph."),
        SummaryField("gen fx model report", HTML_NAME, HTML_NAME, "This report.", prefixed=False),
    )


def messages(evaluation: Evaluation) -> tuple[str, ...]:
    """Return every warning as one line: CPU nodes first, in the documented words, then the evaluator's."""
    lines = []
    if cpu_nodes := evaluation.cpu_nodes:
        types = dict.fromkeys(single_line(node.backend) for node in cpu_nodes)
        lines.append(
            f"this model has {len(cpu_nodes)} CPU ops which may cause that the report's fps is different "
            "from the actual fps"
        )
        lines.append(f"CPU ops types: {', '.join(types)}")
    if own := evaluation.user_figures:
        many = f"{len(own)} figures of the platform are" if len(own) > 1 else "1 figure of the platform is"
        given = "; ".join(
            f"{figure.name} = {plain(figure.value)} {figure.unit} (packaged {plain(figure.packaged)})" for figure in own
        )
        so = "" if evaluation.error_known else ", so the expected error does not hold"
        lines.append(f"{many} not the packaged{so}: {single_line(given)}")
    if not evaluation.time_ms:
        lines.append("no node takes time on the NPU, so there is no frame rate to report")
    return (*lines, *map(single_line, evaluation.warnings))


def error_sentence(evaluation: Evaluation) -> str:
    """Return the expected error and where that figure comes from, in one line."""
    error = (
        f"+/- {digits(evaluation.expected_error_percent, 3)} % on total time and FPS "
        f"({single_line(evaluation.expected_error_source)})"
    )
    if not evaluation.error_known:
        names = ", ".join(figure.name for figure in evaluation.user_figures)
        error = f"not known, since these figures are the user's own: {names}; as packaged {error}"
    outside = calibration_sentence(evaluation)
    return f"{error}; {outside}" if outside else error


def cpu_sentence(evaluation: Evaluation) -> str:
    """Return how long the CPU nodes take, in one line; empty if there are none."""
    if not evaluation.cpu_nodes:
        return ""
    core = f"one {single_line(evaluation.cpu_core)} at {digits(evaluation.cpu_frequency_mhz, 3)} MHz"
    without = evaluation.cpu_nodes_without_time
    if without == len(evaluation.cpu_nodes):
        return f"not known on {core}, and not part of the time above"
    left_out = f", without {without} of them whose time is not known" if without else ""
    return (
        f"about {roughly(evaluation.cpu_time_ms)} ms on {core}{left_out}; "
        "a rough estimate, good for the order of magnitude, and not part of the time above"
    )


def calibration_sentence(evaluation: Evaluation) -> str:
    """Return how much lies outside of what the model was calibrated with, in one line; empty if nothing does."""
    parts = []
    if outside := evaluation.nodes_outside_calibration:
        nodes = f"{len(outside)} node{'' if len(outside) == 1 else 's'}"
        share = f"{100 * evaluation.share_outside_calibration:.1f} %"
        parts.append(f"{share} of the time is in {nodes} outside of what was calibrated")
    if settings := evaluation.settings_outside_calibration:
        parts.append(f"no published time has {', '.join(map(single_line, settings))}")
    return "; ".join(parts)
