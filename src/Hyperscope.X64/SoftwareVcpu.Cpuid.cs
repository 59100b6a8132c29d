using System.Security.Cryptography;
using Hyperscope.Vm;

namespace Hyperscope.X64;

/// <summary>CPUID and random numbers.</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private ulong _randomState;

    /// <inheritdoc/>
    public bool TryGetCpuid(uint function, uint index, out CpuidResult result)
    {
        if (Accelerator is { } accelerator
            ? !accelerator.TryGetCpuid(function, index, out result)
            : !Model.TryGet(function, index, Index.Value, Math.Max(1, Group.Vcpus.Count), out result))
        {
            return false;
        }

        const uint LocalApic = 1 << 9, OsXsave = 1 << 27;
        const ulong ApicEnabled = 1 << 11;
        if (function == 1)
        {
            uint ecx = (_c->Cr4 & Cr4.OsXsave) != 0 ? result.Ecx | OsXsave : result.Ecx;
            uint edx = (ReadApicBase() & ApicEnabled) != 0 ? result.Edx : result.Edx & ~LocalApic;
            result = result with { Ecx = ecx, Edx = edx };
        }

        return true;
    }

    // A leaf beyond the last one reads as zeros.
    internal CpuidResult ReadCpuid(uint function, uint index)
    {
        _ = TryGetCpuid(function, index, out CpuidResult result);
        return result;
    }

    /// <summary>The next random number: of the host, or of a seeded sequence where the model asks for one.</summary>
    internal ulong NextRandom()
    {
        if (Model.RandomSeed is not { } seed)
        {
            Span<ulong> value = stackalloc ulong[1];
            RandomNumberGenerator.Fill(System.Runtime.InteropServices.MemoryMarshal.AsBytes(value));
            return value[0];
        }

        // splitmix64
        if (_randomState == 0)
            _randomState = seed + ((ulong)Index.Value << 32) + 1;
        ulong z = _randomState += 0x9E37_79B9_7F4A_7C15;
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
        return z ^ (z >> 31);
    }
}
