using System.Runtime.CompilerServices;

namespace Hyperscope.Kvmi;

/// <summary>A command whose struct is its own request layout, id and checks.</summary>
/// <typeparam name="TSelf">The implementing struct: sequential, blittable, padding spelled out.</typeparam>
public interface ICommand<TSelf>
    where TSelf : unmanaged, ICommand<TSelf>
{
    /// <summary>The id of request and reply.</summary>
    static abstract MessageId Id { get; }

    /// <summary>Bytes of the request's fixed part. (C# gives an empty struct one byte; such a command says 0 here.)</summary>
    static virtual int WireSize => Unsafe.SizeOf<TSelf>();

    /// <summary>True if the request starts with a <see cref="VcpuHeader"/>.</summary>
    static virtual bool HasVcpu => false;

    /// <summary>The request goes on behind its fixed part.</summary>
    static virtual bool HasTail => false;

    /// <summary>What a payload shorter than <c>WireSize</c> plus <see cref="TailSizeOf"/> leads to: true closes the connection,
    /// false is answered with <see cref="KvmError.InvalidArgument"/>. Of no meaning without a tail.</summary>
    static virtual bool ShortTailCloses => false;

    /// <summary>Bytes that the fixed part announces behind itself.</summary>
    static virtual int TailSizeOf(in TSelf command) => 0;

    /// <summary>All padding is zero and no one-byte flag is above 1. Values are checked by the receiver.</summary>
    bool IsWellFormed { get; }
}

/// <summary>A command whose success reply carries a fixed structure (a variable part may follow it).</summary>
/// <typeparam name="TSelf">The request.</typeparam>
/// <typeparam name="TReply">The reply data, after the error block.</typeparam>
public interface ICommand<TSelf, TReply> : ICommand<TSelf>
    where TSelf : unmanaged, ICommand<TSelf>
    where TReply : unmanaged;

/// <summary>A command whose success reply carries plain bytes.</summary>
/// <typeparam name="TSelf">The request.</typeparam>
public interface IBytesCommand<TSelf> : ICommand<TSelf>
    where TSelf : unmanaged, ICommand<TSelf>
{
    /// <summary>How many bytes a complete reply to this request has.</summary>
    int ReplySize { get; }
}

/// <summary>A command followed by data of variable length.</summary>
/// <typeparam name="TSelf">The fixed part.</typeparam>
public interface ITailedCommand<TSelf> : ICommand<TSelf>
    where TSelf : unmanaged, ITailedCommand<TSelf>
{
    /// <summary>Bytes that the fixed part announces. Zero where the length is simply what the message has left.</summary>
    int TailSize { get; }

    static bool ICommand<TSelf>.HasTail => true;

    static int ICommand<TSelf>.TailSizeOf(in TSelf command) => command.TailSize;
}
