using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hyperscope.Devices;

/// <summary>256 bits, one a vector: IRR, ISR or TMR.</summary>
[InlineArray(8)]
internal struct VectorSet
{
    private uint _bits;

    public readonly bool Contains(int vector) => ((this[vector >> 5] >> (vector & 31)) & 1) != 0;

    public void Add(int vector) => this[vector >> 5] |= 1u << (vector & 31);

    public void Remove(int vector) => this[vector >> 5] &= ~(1u << (vector & 31));

    /// <summary>The highest vector in the set, or -1.</summary>
    public readonly int Highest
    {
        get
        {
            for (int i = 7; i >= 0; i--)
            {
                if (this[i] != 0)
                    return (i << 5) + BitOperations.Log2(this[i]);
            }

            return -1;
        }
    }
}
