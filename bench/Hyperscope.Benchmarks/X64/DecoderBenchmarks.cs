using BenchmarkDotNet.Attributes;
using Hyperscope.X64.Decoding;

namespace Hyperscope.Benchmarks.X64;

/// <summary>One instruction from bytes.</summary>
[MemoryDiagnoser]
public class DecoderBenchmarks
{
    private readonly byte[] _load = [0x48, 0x8B, 0x84, 0xC8, 0x00, 0x10, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0];
    private readonly byte[] _add = [0x48, 0x01, 0xD8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    [Benchmark]
    public object Register_add() => Decoder.Decode(_add, CodeSize.Bits64, 0x1000, out _);

    [Benchmark]
    public object Load_with_index_and_displacement() => Decoder.Decode(_load, CodeSize.Bits64, 0x1000, out _);
}
