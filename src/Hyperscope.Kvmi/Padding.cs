using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi;

// Odd-sized padding. The setters do not exist: what we build is zero, what a peer sends is only looked at.

[InlineArray(3)]
internal struct Padding3
{
    private byte _element;

    public readonly bool IsZero => (this[0] | this[1] | this[2]) == 0;
}

[InlineArray(6)]
internal struct Padding6
{
    private byte _element;

    public readonly bool IsZero => (this[0] | this[1] | this[2] | this[3] | this[4] | this[5]) == 0;
}

[InlineArray(7)]
internal struct Padding7
{
    private byte _element;

    public readonly bool IsZero => (this[0] | this[1] | this[2] | this[3] | this[4] | this[5] | this[6]) == 0;
}

[InlineArray(3)]
internal struct Padding12
{
    private uint _element;

    public readonly bool IsZero => (this[0] | this[1] | this[2]) == 0;
}
