"""GRU, LSTM and RNN are unrolled, with the results of onnxruntime's own kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kneronnxopt
from graphs import interface, operators
from kneronnxopt.passes import expand_recurrent
from kneronnxopt.passes._recurrent_cell import read_cell
from kneronnxopt.passes.expand_recurrent import ExpandRecurrent
from kneronnxopt.pipeline import pass_names

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
ALPHAS = ("Affine", "Elu", "HardSigmoid", "LeakyRelu", "ScaledTanh", "ThresholdedRelu")
BETAS = ("Affine", "HardSigmoid", "ScaledTanh")
OTHERS = ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
OUTPUTS = ("y", "y_h", "y_c")
#: Operands, by input: sequences and states swap their first two axes in layout 1.
INPUTS = ("x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "p")

EXTRA = [] if ExpandRecurrent.name in pass_names() else [ExpandRecurrent()]


@dataclass
class Case:
    """One recurrent node, in layout 0, that a test varies."""

    op_type: str = "LSTM"
    steps: int = 3
    batch: int = 2
    size: int = 4
    hidden: int = 5
    opset: int = 17
    attributes: dict[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ("b",)
    constants: tuple[str, ...] = ("w", "r", "b", "p")
    zero: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("y", "y_h", "y_c")
    dtype: str = "float32"

    @property
    def directions(self) -> int:
        return 2 if self.attributes.get("direction") == "bidirectional" else 1

    def arrays(self) -> dict[str, np.ndarray]:
        d, g, n, h = self.directions, GATES[self.op_type], self.batch, self.hidden
        shapes = {
            "x": (self.steps, n, self.size),
            "w": (d, g * h, self.size),
            "r": (d, g * h, h),
            "b": (d, 2 * g * h),
            "initial_h": (d, n, h),
            "initial_c": (d, n, h),
            "p": (d, 3 * h),
        }
        rng = np.random.default_rng(0)
        made = {name: (rng.standard_normal(shape) / 2).astype(self.dtype) for name, shape in shapes.items()}
        made["sequence_lens"] = np.full(n, self.steps, np.int32)
        used = ("x", "w", "r", *self.optional)
        return {name: made[name] * (name not in self.zero) for name in INPUTS if name in used}

    def model(self, layout: int = 0, x_shape: tuple[int | str, ...] | None = None) -> onnx.ModelProto:
        arrays = {name: turned(name, array, layout) for name, array in self.arrays().items()}
        names = [name if name in arrays else "" for name in INPUTS]
        made = OUTPUTS[: 3 if self.op_type == "LSTM" else 2]
        attributes = {"hidden_size": self.hidden, **self.attributes, **({"layout": 1} if layout else {})}
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        d, n, h = self.directions, self.batch if x_shape is None else x_shape[1 - layout], self.hidden
        shapes = {"y": (self.steps, d, n, h), "y_h": (d, n, h), "y_c": (d, n, h)}
        if layout:
            shapes = {"y": (n, self.steps, d, h), "y_h": (n, d, h), "y_c": (n, d, h)}
        inputs = []
        for name, array in arrays.items():
            if name not in self.constants:
                shape: Any = array.shape
                if name == "x" and x_shape is not None:
                    shape = x_shape
                elif name.startswith("initial") and x_shape is not None:
                    shape = (n, d, h) if layout else (d, n, h)
                type_ = onnx.TensorProto.INT32 if name == "sequence_lens" else kind
                inputs.append(onnx.helper.make_tensor_value_info(name, type_, shape))
        while not names[-1]:
            names.pop()
        wanted = [name for name in made if name in self.outputs]
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node(self.op_type, names, [n if n in wanted else "" for n in made], **attributes)],
            "g",
            inputs,
            [onnx.helper.make_tensor_value_info(name, kind, shapes[name]) for name in wanted],
            [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in self.constants],
        )
        opset = onnx.helper.make_opsetid("", self.opset)
        return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def turned(name: str, array: np.ndarray, layout: int) -> np.ndarray:
    """Operand or state in ``layout``."""
    return array.swapaxes(0, 1).copy() if layout and name in ("x", "initial_h", "initial_c", "y_h", "y_c") else array


def run(model: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results = session.run(None, {value.name: arrays[value.name] for value in model.graph.input})
    return dict(zip((value.name for value in model.graph.output), results, strict=True))


def optimized(model: onnx.ModelProto, pass_: ExpandRecurrent | None = None) -> onnx.ModelProto:
    """Run this pass alone."""
    pass_ = pass_ or ExpandRecurrent()
    pass_.name = "under_test"  # its own name is skipped with all the others
    return kneronnxopt.optimize(model, skip_check=True, extra_passes=[pass_], skipped_optimizers=pass_names())


def expanded(
    case: Case, layout: int = 0, x_shape: tuple[int | str, ...] | None = None, *, alone: bool = True
) -> onnx.ModelProto:
    """The unrolled model, which computes what onnxruntime's kernel computes from layout 0."""
    model = case.model(layout, x_shape)
    result = optimized(model) if alone else kneronnxopt.optimize(model, skip_check=True, extra_passes=EXTRA)
    onnx.checker.check_model(result, full_check=True)
    assert interface(result) == interface(model)
    assert case.op_type not in operators(result)
    reference = Case(**{**vars(case), "dtype": "float32"})  # there are no kernels for double
    arrays = case.arrays()
    old = run(reference.model(), {name: array.astype(np.float32) for name, array in arrays.items()} | ints(arrays))
    new = run(result, {name: turned(name, array, layout) for name, array in arrays.items()})
    assert list(new) == list(old)
    if not all(np.isfinite(array).all() for array in old.values()):
        return result  # the kernels' Softplus overflows from 89 on
    for name, array in new.items():
        back = array.transpose(1, 2, 0, 3) if layout and name == "y" else turned(name, array, layout)
        np.testing.assert_allclose(back, old[name], rtol=0, atol=1e-5 * max(1, float(np.abs(old[name]).max())))
    return result


def ints(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if array.dtype.kind == "i"}


def few(draw: st.DrawFn, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if draw(st.booleans()))


@st.composite
def cases(draw):
    op_type = draw(st.sampled_from(sorted(GATES)))
    attributes: dict[str, Any] = {"direction": draw(st.sampled_from(["forward", "reverse", "bidirectional"]))}
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.25, 1.0]))
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op_type == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        count = FUNCTIONS[op_type] * (2 if attributes["direction"] == "bidirectional" else 1)
        names = draw(st.lists(st.sampled_from(sorted({*ALPHAS, *OTHERS})), min_size=count, max_size=count))
        attributes["activations"] = names
        takers = {"activation_alpha": ALPHAS, "activation_beta": BETAS}
        for key, takes in takers.items():
            number = sum(name in takes for name in names)
            if number:
                attributes[key] = draw(st.lists(st.sampled_from([0.125, 0.5]), min_size=number, max_size=number))
    optional = few(draw, "b", "initial_h", "sequence_lens", *(("initial_c", "p") if op_type == "LSTM" else ()))
    return Case(
        op_type,
        steps=draw(st.integers(1, 4)),
        batch=draw(st.integers(1, 3)),
        size=draw(st.integers(1, 3)),
        hidden=draw(st.integers(1, 3)),
        opset=draw(st.integers(10, 21)),
        attributes=attributes,
        optional=optional,
        constants=(*few(draw, "w", "r", "b", "p", "initial_h", "initial_c"), "sequence_lens"),
        zero=few(draw, "initial_h", "initial_c", "b"),
        outputs=few(draw, "y", "y_h", *(["y_c"] if op_type == "LSTM" else [])) or ("y",),
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 1))
def test_any_cell(case, layout):
    expanded(case, layout if case.opset >= 14 else 0)


@settings(max_examples=20, deadline=None)
@given(cases(), st.integers(0, 1))
def test_all_passes_together(case, layout):
    expanded(case, layout if case.opset >= 14 else 0, alone=False)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21])
@pytest.mark.parametrize("op_type", ["RNN", "GRU", "LSTM"])
def test_each_opset_has_its_forms(op_type, opset):
    attributes = {"direction": "bidirectional", "clip": 0.5}
    expanded(Case(op_type, opset=opset, attributes=attributes, optional=("initial_h",), constants=("w",)))
    expanded(Case(op_type, opset=opset, attributes=attributes, optional=("b",)))


@pytest.mark.parametrize(
    ("case", "nodes"),
    [
        (Case("RNN"), {"Gemm": 1, "Tanh": 1}),
        (Case("GRU"), {"Gemm": 2, "Sigmoid": 1, "Split": 1, "Mul": 2, "Tanh": 1, "Sub": 1, "Add": 1}),
        (
            Case("GRU", attributes={"linear_before_reset": 1}),
            {"Gemm": 2, "Sigmoid": 1, "Split": 1, "Mul": 2, "Tanh": 1, "Sub": 1, "Add": 2},
        ),
        (Case("LSTM"), {"Gemm": 2, "Sigmoid": 1, "Split": 1, "Mul": 3, "Tanh": 2, "Add": 1}),
    ],
)
def test_a_step_is_small(case, nodes):
    counts = []
    for steps in (5, 6):
        longer = Case(**{**vars(case), "steps": steps, "outputs": ("y",)})
        counts.append(operators(expanded(longer)))
    more = {op_type: counts[1][op_type] - counts[0][op_type] for op_type in counts[1]}
    assert {op_type: count for op_type, count in more.items() if count} == nodes


@pytest.mark.parametrize("op_type", ["RNN", "GRU", "LSTM"])
def test_the_input_is_projected_once(op_type):
    result = expanded(Case(op_type, steps=1, outputs=("y_h",)))
    assert operators(result)["Gemm"] == (1 if op_type == "RNN" else 2)


def test_a_zero_state_costs_nothing():
    zero = Case(optional=("b", "initial_h", "initial_c"), constants=("w", "r", "b", "initial_h", "initial_c"))
    zero.zero = ("initial_h", "initial_c")
    assert operators(expanded(zero)) == operators(expanded(Case()))


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("op_type", ["RNN", "GRU", "LSTM"])
def test_the_batch_may_be_dynamic(op_type, layout):
    shape = ("n", 3, 4) if layout else (3, "n", 4)
    for batch in (1, 2):
        case = Case(op_type, batch=batch, attributes={"direction": "bidirectional"}, optional=("b", "initial_h"))
        expanded(case, layout, shape)


def test_double_is_computed_in_double():
    result = expanded(Case("GRU", dtype="float64"))
    kinds = {value.type.tensor_type.elem_type for value in result.graph.value_info}
    assert kinds <= {onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64}
    assert onnx.TensorProto.DOUBLE in kinds


def test_unbounded_candidates_do_not_cancel():
    attributes = {"activations": ["Sigmoid", "Relu"]}
    case = Case("GRU", steps=1, optional=("b", "initial_h"), attributes=attributes)
    model = case.model()
    arrays = case.arrays()
    for tensor in model.graph.initializer:
        if tensor.name == "w":  # the update gate is closed (z = 1), the candidate huge
            array = np.concatenate([np.full((1, 10, 4), 1e3), np.full((1, 5, 4), 1e8)], axis=1).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, "w"))
    arrays["x"] = np.abs(arrays["x"]) + 1
    old, new = run(model, arrays)["y_h"], run(optimized(model), arrays)["y_h"]
    np.testing.assert_allclose(new, old, rtol=1e-5)
    assert np.abs(old).max() < 10


@pytest.mark.parametrize(
    "attributes",
    [
        {"activations": ["Sigmoid", "Tanh", "Swish"]},
        {"activations": ["Sigmoid", "Tanh"]},
        {"activations": ["Affine", "Tanh", "Tanh"]},  # no agreement on its default alpha
        {"activations": ["LeakyRelu", "Elu", "Tanh"], "activation_alpha": [0.5]},  # whose is it?
        {"clip": 0.0},
        {"hidden_size": 4},
    ],
)
def test_what_is_not_certain_stays(attributes):
    import onnx_ir as ir

    model = ir.from_proto(Case(attributes=attributes).model())
    assert read_cell(model.graph[0]) is None
    plain = ir.from_proto(Case().model())
    assert read_cell(plain.graph[0]) is not None


def test_a_threshold_waits_for_its_operator():
    attributes = {"activations": ["ThresholdedRelu"], "activation_alpha": [0.25]}
    assert "RNN" in operators(optimized(Case("RNN", opset=9, attributes=attributes).model()))
    expanded(Case("RNN", opset=10, attributes=attributes))


def test_a_dynamic_number_of_steps_stays():
    assert operators(optimized(Case().model(x_shape=("t", 2, 4)))) == {"LSTM": 1}


def test_lengths_that_are_not_all_full_stay():
    case = Case(optional=("sequence_lens",), constants=("w", "r", "sequence_lens"))
    expanded(case)
    model = case.model()
    for tensor in model.graph.initializer:
        if tensor.name == "sequence_lens":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([3, 2], np.int32), "sequence_lens"))
    assert operators(optimized(model)) == {"LSTM": 1}
    case.constants = ("w", "r")
    assert operators(optimized(case.model())) == {"LSTM": 1}


def test_weights_that_the_caller_may_override_are_not_cut():
    model = Case("RNN").model()
    model.graph.input.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [1, 5, 5]))
    result = optimized(model)
    assert "RNN" not in operators(result)
    arrays = Case("RNN").arrays() | {"r": np.full((1, 5, 5), 0.25, np.float32)}
    np.testing.assert_allclose(run(result, arrays)["y"], run(model, arrays)["y"], atol=1e-6)


def test_a_model_does_not_grow_without_bound():
    model = Case("RNN", steps=50).model()
    assert operators(optimized(model, ExpandRecurrent(max_nodes=50))) == {"RNN": 1}
    assert "RNN" not in operators(optimized(model, ExpandRecurrent(max_nodes=200)))
    model = Case("RNN", steps=50, size=5).model()
    node = onnx.NodeProto()
    node.CopyFrom(model.graph.node[0])
    model.graph.node[0].output[:] = ["first", "second"]
    model.graph.node.insert(1, onnx.helper.make_node("Squeeze", ["first", "one"], ["squeezed"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    node.input[0] = "squeezed"
    model.graph.node.append(node)
    assert operators(optimized(model, ExpandRecurrent(max_nodes=200)))["RNN"] == 1  # the bound is for the model


@settings(max_examples=40, deadline=None)
@example(Case("GRU", attributes={"linear_before_reset": 1, "activations": ["Sigmoid", "Relu"]}))
@given(cases())
def test_the_bound_holds(case):
    import onnx_ir as ir

    model = ir.from_proto(Case(**{**vars(case), "steps": 10 * case.steps}).model())
    cell = read_cell(model.graph[0])
    assert cell is not None
    assert expand_recurrent.ExpandRecurrent().rewrite(model.graph[0])
    assert len(model.graph) <= cell.node_bound()


def test_shared_weights_are_stored_once():
    model = Case("RNN", size=5, hidden=5, optional=()).model()
    first = model.graph.node[0]
    first.output[:] = ["first"]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    model.graph.node.append(onnx.helper.make_node("Squeeze", ["first", "one"], ["again"]))
    model.graph.node.append(onnx.helper.make_node("RNN", ["again", "w", "r"], ["y", "y_h"], hidden_size=5))
    result = optimized(model)
    sizes = [len(tensor.raw_data) // 4 for tensor in result.graph.initializer if tensor.data_type == 1]
    assert sizes == [25, 25]
    arrays = Case("RNN", size=5, hidden=5, optional=()).arrays()
    np.testing.assert_allclose(run(result, arrays)["y"], run(model, arrays)["y"], atol=1e-6)


def test_a_captured_state_keeps_its_name():
    case = Case("GRU", outputs=("y", "y_h"))
    model = case.model()
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["y_h"], ["n"])], "branch", [], [onnx.helper.make_empty_tensor_value_info("n")]
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, []))
    model.graph.node.append(onnx.helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 2, 5]))
    arrays = case.arrays() | {"flag": np.array(True)}
    result = optimized(model)
    assert "GRU" not in operators(result)
    for name, array in run(result, arrays).items():
        np.testing.assert_allclose(array, run(model, arrays)[name], atol=1e-6)
