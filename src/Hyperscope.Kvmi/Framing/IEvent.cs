using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi;

/// <summary>An event whose struct is the layout of its specific data, after <see cref="EventHeader"/>.</summary>
/// <typeparam name="TSelf">The implementing struct.</typeparam>
public interface IEvent<TSelf>
    where TSelf : unmanaged, IEvent<TSelf>
{
    /// <summary>The id in the event header.</summary>
    static abstract EventId Id { get; }

    /// <summary>The actions that the reply may carry.</summary>
    static abstract EventActions Accepts { get; }

    /// <summary>Bytes of the specific data; 0 where there is none (C# gives an empty struct one byte).</summary>
    static virtual int WireSize => Unsafe.SizeOf<TSelf>();

    /// <summary>Bytes of specific data that the reply may carry.</summary>
    static virtual int ReplyDataSize => 0;

    /// <summary>All padding is zero.</summary>
    bool IsWellFormed { get; }
}

/// <summary>An event whose reply carries data.</summary>
/// <typeparam name="TSelf">The event's specific data.</typeparam>
/// <typeparam name="TReplyData">The reply's specific data.</typeparam>
public interface IEvent<TSelf, TReplyData> : IEvent<TSelf>
    where TSelf : unmanaged, IEvent<TSelf>
    where TReplyData : unmanaged
{
    static int IEvent<TSelf>.ReplyDataSize => Unsafe.SizeOf<TReplyData>();
}
