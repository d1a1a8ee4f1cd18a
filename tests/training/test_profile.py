import gzip
import itertools
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnet_sweep.training.breakdown import Breakdown
from resnet_sweep.training.kinds import METRICS, kind_of_kernel
from resnet_sweep.training.profile import Profiled, StepProfiler, Windows, windows_of
from resnet_sweep.training.roofline import OperationCost, Peaks, Roofline
from resnet_sweep.training.trace import busy_gpu, busy_host

CPU = torch.device("cpu")
PEAKS = Peaks(flops_per_s=1e12, bytes_per_s=1e11)
NATIVE = "void at::native::"
ELEMENTWISE = f"{NATIVE}vectorized_elementwise_kernel<4, at::native::"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm80_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolution_forward"),
        (
            "sm90_xmma_dgrad_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc_nhwc",
            "convolution_backward",
        ),
        (
            "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816wgrad_optimized_bf16>",
            "convolution_backward",
        ),
        ("void cudnn::cnn::wgrad_alg0_engine<float, 128, 5>", "convolution_backward"),
        ("void implicit_convolve_sgemm<float, float, 1024>", "convolution_forward"),
        ("ampere_scudnn_128x64_relu_interior_nn_v1", "convolution_forward"),
        ("void cudnn::batchnorm_fwtr_nhwc_semiPersist<__nv_bfloat16>", "batch_norm"),
        ("void cudnn::bn_bw_1C11_kernel_new<float, float, float2, 512>", "batch_norm"),
        (f"{NATIVE}batch_norm_backward_elemt_channels_last_kernel<4>", "batch_norm"),
        (f"{ELEMENTWISE}CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul>>", "activation"),
        (f"{ELEMENTWISE}(anonymous namespace)::launch_clamp_scalar(at::Tensor", "activation"),
        (f"{ELEMENTWISE}(anonymous namespace)::threshold_kernel_impl<float>", "activation"),
        (f"{NATIVE}(anonymous namespace)::max_pool_forward_nhwc<c10::BFloat16, int>", "pooling"),
        (f"{NATIVE}reduce_kernel<512, 1, at::native::ReduceOp<float, MeanOps<float>>>", "pooling"),
        ("ampere_sgemm_128x64_tn", "linear"),
        ("nvjet_tst_128x8_64x12_4x1_v_bz_TNT", "linear"),
        ("cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_tn_align8", "linear"),
        ("void (anonymous namespace)::softmax_warp_forward<float, float, float, 1>", "loss"),
        (f"{NATIVE}(anonymous namespace)::nll_loss_forward_reduce_cuda_kernel_2d<float>", "loss"),
        (
            f"{NATIVE}(anonymous namespace)::multi_tensor_apply_kernel<"
            "TensorListMetadata<3>, FusedSgdMathFunctor<float, 3>>",
            "optimizer",
        ),
        (f"{NATIVE}reduce_kernel<512, 1, ReduceOp<float, ArgMaxOps<float>>>", "metrics"),
        (f"{ELEMENTWISE}bfloat16_copy_kernel_cuda(at::TensorIteratorBase&)", "copy"),
        (f"{NATIVE}unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda", "copy"),
        (f"{ELEMENTWISE}FillFunctor<float>, std::array<char*, 1ul>>", "copy"),
        ("Memcpy DtoH (Device -> Pinned)", "copy"),
        ("Memset (Device)", "copy"),
        ("void cudnn::ops::nchwToNhwcKernel<__half, __half, float, false, true>", "copy"),
        ("triton_poi_fused_add_relu_3", "activation"),
        ("triton_red_fused__native_batch_norm_legit_functional_relu_5", "batch_norm"),
        ("triton_poi_fused_convolution_backward_threshold_backward_7", "activation"),
        ("triton_poi_fused__to_copy_1", "copy"),
        ("triton_tem_fused_convolution_12", "convolution_forward"),
        ("triton_tem_fused_mm_2", "linear"),
        (f"{NATIVE}reduce_kernel<512, 1, at::native::ReduceOp<float, sum_functor>>", None),
        ("a_kernel_of_tomorrow", None),
    ],
)
def test_kinds_of_kernels(name, kind):
    assert kind_of_kernel(name) == kind


def event(cat, name, ts, dur, tid=1, correlation=None):
    args = {} if correlation is None else {"correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "tid": tid, "args": args}


def test_an_operation_counts_without_what_it_calls():
    events = [
        {"ph": "M", "name": "process_name"},
        event("cpu_op", "aten::convolution", 0, 100),
        event("cpu_op", "aten::empty", 10, 20),
        event("cpu_op", "aten::copy_", 40, 10),
        event("cpu_op", "aten::relu_", 100, 50),
        event("cpu_op", "aten::clamp_min_", 110, 30),
        event("cpu_op", "aten::mystery", 200, 5),
        event("cpu_op", "aten::relu_", 0, 1000, tid=2),
    ]
    busy = busy_host(events, thread_id=1)
    assert busy.by_kind == pytest.approx(
        {"convolution_forward": 90e-6, "copy": 10e-6, "activation": 50e-6, "other": 5e-6}
    )
    assert busy.unknown == pytest.approx({"aten::mystery": 5e-6})


def test_ranges_and_the_optimizer_decide_for_what_is_in_them():
    events = [
        event("user_annotation", "data", 0, 100),
        event("cpu_op", "aten::index_select", 10, 40),
        event("cpu_op", "aten::mul", 60, 20),
        event("cpu_op", "aten::_foreach_mul_", 100, 40),
        event("cpu_op", "aten::mul_", 110, 30),
        event("user_annotation", "metrics", 200, 7),
    ]
    busy = busy_host(events, thread_id=1)
    assert busy.by_kind == pytest.approx({"data": 100e-6, "optimizer": 40e-6, "metrics": 7e-6})


def test_a_kernel_is_told_by_what_launched_it_and_by_its_name():
    events = [
        event("cpu_op", "aten::cudnn_convolution", 0, 20),
        event("cuda_runtime", "cudaLaunchKernel", 5, 5, correlation=1),
        event("user_annotation", "data", 20, 20),
        event("cuda_runtime", "cudaLaunchKernel", 25, 5, correlation=2),
        event("cpu_op", "aten::relu_", 40, 20),
        event("cuda_driver", "cuLaunchKernelEx", 45, 5, correlation=3),
        event("cuda_runtime", "cudaGraphLaunch", 70, 5, correlation=4),
        # Matrix products are what 1x1 convolutions are made of.
        event("kernel", "sm80_xmma_gemm_bf16bf16", 100, 10, tid=7, correlation=1),
        event("kernel", f"{ELEMENTWISE}CUDAFunctor_add", 110, 20, tid=7, correlation=2),
        event("kernel", "vectorized_something", 130, 30, tid=7, correlation=3),
        event("kernel", "sm80_xmma_wgrad_implicit_gemm", 160, 40, tid=7, correlation=4),
        event("kernel", "ampere_sgemm_64x64", 200, 50, tid=7, correlation=4),
        event("kernel", "mystery", 250, 5, tid=7, correlation=4),
        event("gpu_memset", "Memset (Device)", 255, 5, tid=7),
        event("gpu_user_annotation", "data", 0, 1000, tid=7),
    ]
    busy = busy_gpu(events)
    assert busy.by_kind == pytest.approx(
        {
            "convolution_forward": 10e-6,
            "data": 20e-6,
            "activation": 30e-6,
            "convolution_backward": 40e-6,
            "linear": 50e-6,
            "other": 5e-6,
            "copy": 5e-6,
        }
    )
    assert busy.unknown == pytest.approx({"mystery": 5e-6})


def test_kernels_that_run_at_the_same_time_share_it():
    events = [
        event("kernel", "ampere_sgemm_64x64", 0, 30, tid=7),
        event("kernel", "batch_norm_transform", 10, 30, tid=8),
        event("kernel", "batch_norm_transform", 100, 20, tid=8),
    ]
    busy = busy_gpu(events)
    assert busy.total_s == pytest.approx(60e-6)
    assert busy.by_kind["batch_norm"] / busy.by_kind["linear"] == pytest.approx(50 / 30)
    assert busy_gpu([]).total_s == 0


@pytest.mark.parametrize(
    ("num_steps", "windows"),
    [
        (1, Windows(0, 0, 1)),
        (2, Windows(1, 0, 1)),
        (3, Windows(1, 1, 1)),
        (10, Windows(4, 3, 3)),
        (1000, Windows(10, 10, 10)),
    ],
)
def test_short_epochs_have_short_windows(num_steps, windows):
    assert windows_of(num_steps) == windows
    assert windows.num_steps <= num_steps


@pytest.fixture
def training(monkeypatch) -> Profiled:
    monkeypatch.setattr("resnet_sweep.training.peaks._COPY_BYTES", 2**20)
    monkeypatch.setattr("resnet_sweep.training.peaks._CPU_SIZES", (64,))
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    return Profiled(model, (3, 8, 8), 6, "fp32", CPU, num_optimizer_states=0)


def train(profiler, model, num_steps, raises_at=None):
    """An epoch as the loop has it; gives the images' means, which tell the batches apart."""
    seen = []
    batches = ((torch.full((6, 3, 8, 8), float(i)), torch.zeros(6).long()) for i in range(99))
    with profiler.epoch(num_steps):
        for images, labels in profiler.batches(itertools.islice(batches, num_steps)):
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            torch._foreach_add_([p.data for p in model.parameters()], 0.0)
            with profiler.range(METRICS):
                seen.append(images.mean().item())
            if len(seen) == raises_at:
                raise KeyboardInterrupt
            profiler.step_done()
    return seen


def test_it_records_a_few_steps_and_tells_where_their_time_went(training, tmp_path):
    path = tmp_path / "trace.json.gz"
    profiler = StepProfiler(path, training)
    assert train(profiler, training.model, 6) == list(range(6))
    assert profiler.has_recorded
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [event["name"] for event in events]
    # Two of the six are recorded; the last look for a batch finds none.
    assert names.count("aten::convolution_backward") == names.count("metrics") == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["trace.json.gz"]
    written = path.stat().st_mtime_ns
    train(profiler, training.model, 6)
    assert path.stat().st_mtime_ns == written

    breakdown = profiler.breakdown()
    shares = breakdown.shares
    assert {"data", "convolution_forward", "convolution_backward", "batch_norm"} <= set(shares)
    assert {"activation", "linear", "loss", "optimizer", "metrics", "idle"} <= set(shares)
    assert sum(shares.values()) == pytest.approx(1)
    facts = breakdown.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["images_per_s"] == pytest.approx(6000 / facts["step_ms"])
    assert facts["roofline_share"] == pytest.approx(facts["roofline_ms"] / facts["step_ms"])
    assert "% of it is reached" in breakdown.text()


def test_an_error_in_a_recorded_step_ends_the_recording(training, tmp_path):
    profiler = StepProfiler(tmp_path / "trace.json.gz", training)
    with pytest.raises(KeyboardInterrupt):
        train(profiler, training.model, 3, raises_at=3)
    assert not profiler.has_recorded
    assert list(tmp_path.iterdir()) == []
    # The next run of the process can record.
    following = StepProfiler(tmp_path / "trace.json.gz", training)
    train(following, training.model, 1)
    assert following.has_recorded


def test_a_network_that_needs_values_has_a_profile_without_a_roofline(training, tmp_path):
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1) if x.sum() > 0 else -x.flatten(1))

    model = Branching(3 * 8 * 8, 4)
    profiler = StepProfiler(
        tmp_path / "trace.json.gz", Profiled(model, (3, 8, 8), 6, "fp32", CPU, 0)
    )
    train(profiler, model, 1)
    breakdown = profiler.breakdown()
    assert breakdown.facts()["roofline_share"] is None
    assert (
        "no roofline, as the network does not run on shapes alone (RuntimeError:"
        in breakdown.text()
    )


def breakdown_of(**changes) -> Breakdown:
    costs = (
        OperationCost("convolution", "convolution_forward", "forward", 2e9, 1.0),
        OperationCost("relu", "activation", "forward", 1.0, 1e8),
    )
    values = {
        "device_type": "cuda",
        "precision": "bf16",
        "batch_size": 32,
        "num_recorded": 10,
        "step_s": 0.006,
        "recorded_s": 0.010,
        "s_by_kind": {"activation": 0.003, "convolution_forward": 0.004, "other": 0.001},
        "unknown": {"small": 1e-6, "mystery": 0.0009},
        "peaks": PEAKS,
        "roofline": Roofline(costs, PEAKS),
    }
    return Breakdown(**(values | changes))


def test_the_table_is_for_a_person():
    assert breakdown_of().text().splitlines() == [
        "where the time of a step went (10 steps of 32 images, time of the GPU's kernels)",
        "                                       share        ms  roofline, ms",
        "  convolution, forward                40.0 %      4.00          2.00",
        "  activations and additions           30.0 %      3.00          1.00",
        "  other                               10.0 %      1.00             -",
        "  idle                                20.0 %      2.00             -",
        "  other: 9.0 % mystery",
        "a step takes 6.00 ms, 5333.3 images/s; at the roofline 3.00 ms: 50.0 % of it is reached",
        "peaks, measured: 1 TFLOP/s in bf16, 100 GB/s",
    ]


def test_a_gpu_without_kernels_is_not_called_idle_alone():
    assert "the profiler saw no kernels" in breakdown_of(s_by_kind={}, unknown={}).text()


def test_clocks_that_differ_do_not_make_more_than_all():
    shares = breakdown_of(recorded_s=0.0079).shares
    assert shares["idle"] == 0
    assert sum(shares.values()) == pytest.approx(1)
