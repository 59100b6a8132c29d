using Hyperscope.Vm;

namespace Hyperscope.Guests;

/// <summary>A guest put together in this process: bytes to load and the state in which its vCPUs start.</summary>
/// <param name="Name">For people, and for <c>--image builtin:NAME</c>.</param>
/// <param name="Pieces">What to write where before the start.</param>
/// <param name="Entry">Where vCPUs start, in 64-bit mode with the tables of <see cref="LongModeTables"/>.</param>
/// <param name="MinimumMemory">Bytes of memory it needs.</param>
/// <param name="InitialState">Registers of a vCPU at its start.</param>
public sealed record GuestProgram(
    string Name,
    IReadOnlyList<(Gpa Address, byte[] Bytes)> Pieces,
    Gva Entry,
    ulong MinimumMemory,
    Func<VcpuIndex, (KvmRegs Registers, KvmSregs Special)> InitialState);
