using Hyperscope.LinuxHost;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Introspection;

public sealed partial class IntrospectionSession
{
    private const ulong SocketTag = 0;
    private const ulong WakeTag = 1;

    private readonly Epoll _epoll = new();
    private readonly EventFd _wake = new();
    private readonly Thread _receiver;
    private readonly byte[] _receiverBuffer = new byte[KvmiConstants.MaxMessageSize];
    private int _hasReader;

    /// <summary>Takes the reader's role for a vCPU that is about to send an event.</summary>
    /// <remarks>The receive thread is told not to wake for the socket, so the reply wakes only whoever waits for it.</remarks>
    internal bool TryBecomeReader()
    {
        if (Interlocked.CompareExchange(ref _hasReader, 1, 0) != 0)
            return false;
        _epoll.Modify(_channel.Handle, EpollEvents.OneShot, SocketTag);
        return true;
    }

    /// <summary>Gives the role back. First the role, then the alarm: the receive thread must find the role free when it wakes.</summary>
    internal void StopReading()
    {
        Volatile.Write(ref _hasReader, 0);
        if (!IsClosed)
            _epoll.Modify(_channel.Handle, EpollEvents.In | EpollEvents.OneShot, SocketTag);
    }

    /// <summary>Receives once and handles every complete message. The caller holds the role.</summary>
    /// <param name="reader">The vCPU whose thread this is, or null.</param>
    /// <param name="buffer">For replies.</param>
    /// <param name="deadline">Tick count at which to give up, or <see cref="long.MaxValue"/>.</param>
    /// <returns>False: the time is up.</returns>
    internal bool Read(IntrospectedVcpu? reader, Span<byte> buffer, long deadline)
    {
        if (deadline != long.MaxValue)
        {
            long left = deadline - Environment.TickCount64;
            if (left <= 0 || !_channel.WaitReadable((int)left))
                return false;
        }

        if (Fill(block: true) > 0)
            Drain(reader, buffer);
        return true;
    }

    private void Receive()
    {
        Span<EpollReady> ready = stackalloc EpollReady[2];
        try
        {
            while (!IsClosed)
            {
                _epoll.Wait(ready, -1);
                if (IsClosed || Interlocked.CompareExchange(ref _hasReader, 1, 0) != 0)
                    continue;
                try
                {
                    while (Fill(block: false) > 0)
                        Drain(null, _receiverBuffer);
                }
                finally
                {
                    StopReading();
                }
            }
        }
        catch (Exception failure)
        {
            _logger.Failed(ToolName, failure);
            Close("internal failure");
        }
    }

    private int Fill(bool block)
    {
        int received = _channel.Fill(block);
        if (received == 0)
            Close("the tool closed the connection");
        return received;
    }

    private void Drain(IntrospectedVcpu? reader, Span<byte> buffer)
    {
        try
        {
            while (!IsClosed && _channel.TryTake(out MessageHeader header, out ReadOnlySpan<byte> payload))
            {
                if (Dialect.IsCore)
                    Dispatch(header, payload, reader, buffer, isSilent: false);
                else
                    Translate(header, payload, reader, buffer);
            }
        }
        catch (ProtocolException violation)
        {
            Close(violation.Message);
        }
    }

    private void Dispatch(
        in MessageHeader header, ReadOnlySpan<byte> payload, IntrospectedVcpu? reader, Span<byte> buffer, bool isSilent)
    {
        if (header.MessageId == MessageId.Event)
        {
            ToVcpu(header, payload, reader, buffer, null, isSilent);
            return;
        }

        if (!CommandTable.TryGet(header.MessageId, out CommandRow? row))
            RefuseOutright(header, KvmError.UnknownCommand, buffer, isSilent);
        else if (!Commands.Allows(header.MessageId))
            RefuseOutright(header, KvmError.NotPermitted, buffer, isSilent);
        else if (row.RunsOnVcpu)
            ToVcpu(header, payload, reader, buffer, row, isSilent);
        else
            Execute(row, null, header, payload, buffer, isSilent);
    }

    private void ToVcpu(
        in MessageHeader header, ReadOnlySpan<byte> payload, IntrospectedVcpu? reader, Span<byte> buffer, CommandRow? row, bool isSilent)
    {
        var block = Message.Read<VcpuHeader>(payload[..Math.Min(payload.Length, 8)]);
        if ((!block.IsWellFormed && !Dialect.IgnoresPadding) || block.Index.Value >= _vcpus.Length)
        {
            RefuseForVcpu(row, header, KvmError.InvalidArgument, buffer, isSilent);
            return;
        }

        IntrospectedVcpu vcpu = _vcpus[block.Index.Value];
        if (!vcpu.IsAwaitingReply && !vcpu.Vcpu.IsInitialized)
            RefuseForVcpu(row, header, KvmError.TryAgain, buffer, isSilent);
        else if (vcpu == reader)
            vcpu.Run(row, header, payload, isSilent); // it is our thread, and its queue is empty
        else
            vcpu.Enqueue(header, payload, isSilent);
    }

    private void RefuseForVcpu(CommandRow? row, in MessageHeader header, KvmError error, Span<byte> buffer, bool isSilent)
    {
        if (row is null)
            RefuseOutright(header, error, buffer, isSilent);
        else
            Refuse(header, error, buffer, isSilent);
    }

    /// <summary>Runs a command and answers it.</summary>
    /// <exception cref="ProtocolException">The connection must close.</exception>
    internal void Execute(
        CommandRow row, IntrospectedVcpu? vcpu, in MessageHeader header, ReadOnlySpan<byte> payload, Span<byte> buffer, bool isSilent)
    {
        var reply = new ReplyData(Message.ReplyDataOf(buffer));
        KvmError error = row.Body(this, vcpu, payload, ref reply);
        if (error != KvmError.None)
        {
            Refuse(header, error, buffer, isSilent);
            return;
        }

        IntrospectionMetrics.Commands.Add(1);
        if (Dialect.IsCore)
            Send(buffer[..Message.CompleteReply(buffer, header.MessageId, header.Seq, reply.Length)]);
        else
            ReplyTranslated(header, buffer, reply.Length, isSilent);
    }

    private void Refuse(in MessageHeader header, KvmError error, Span<byte> buffer, bool isSilent)
    {
        IntrospectionMetrics.Commands.Add(1);
        IntrospectionMetrics.Refusals.Add(1);
        if (_logger.IsEnabled(LogLevel.Debug))
            _logger.CommandRefused(ToolName, header.MessageId, error);
        int length = Message.WriteError(buffer, header.MessageId, header.Seq, error);
        if (isSilent)
            return;
        if (!Dialect.IsCore)
            WriteWireId(buffer, header.MessageId);
        Send(buffer[..length]);
    }
}
