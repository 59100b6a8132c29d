namespace Hyperscope.Cli;

/// <summary>A command that is a tool: it attaches to a VM over KVMI, does its work and unhooks, also after Ctrl-C.</summary>
internal abstract class ToolCommand : CliCommand
{
    private readonly Option<Endpoint> _kvmi = new("--kvmi")
    {
        Description = "Where the VM listens: unix:PATH, vsock:CID:PORT or tcp:HOST:PORT",
        HelpName = "endpoint",
        Required = true,
        CustomParser = Values.Endpoint,
    };

    private readonly Option<bool> _listen = new("--listen")
    {
        Description = "Listen there and wait for the VM to connect instead",
    };

    private readonly Option<int> _timeout = new("--timeout")
    {
        Description = "Seconds that a command may stay unanswered",
        HelpName = "seconds",
        DefaultValueFactory = static _ => 30,
        CustomParser = Values.Count,
    };

    private readonly Option<bool> _json = new("--json") { Description = "Print JSON for programs instead of tables" };

    /// <summary>Adds what all tools take.</summary>
    protected ToolCommand(string name, string description, params Example[] examples)
        : base(name, description, examples)
    {
        Options.Add(_kvmi);
        Options.Add(_listen);
        Options.Add(_timeout);
        Options.Add(_json);
    }

    /// <summary>The command goes on until Ctrl-C, so that is its normal end.</summary>
    protected virtual bool RunsUntilInterrupted => false;

    /// <summary>Does the work.</summary>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    protected abstract Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation);

    /// <summary>Whether to print JSON.</summary>
    protected bool IsJson(ParseResult parsed) => parsed.GetValue(_json);

    /// <summary>Where the VM is.</summary>
    protected Endpoint EndpointOf(ParseResult parsed) => parsed.GetValue(_kvmi)!;

    /// <inheritdoc/>
    protected sealed override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var options = new IntrospectionOptions
        {
            CommandTimeout = TimeSpan.FromSeconds(parsed.GetValue(_timeout)),
            RememberPageAccess = true,
        };
        await using IntrospectedVm vm = await AttachAsync(EndpointOf(parsed), parsed.GetValue(_listen), options, cancellation)
            .ConfigureAwait(false);
        try
        {
            return await RunAsync(vm, parsed, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (RunsUntilInterrupted && cancellation.IsCancellationRequested)
        {
            return ExitCode.Done;
        }
        finally
        {
            // Not under the command's own token: after Ctrl-C it is this that has to be done first.
            await vm.UnhookAsync(CancellationToken.None).ConfigureAwait(false);
        }
    }

    private async Task<IntrospectedVm> AttachAsync(
        Endpoint endpoint, bool listen, IntrospectionOptions options, CancellationToken cancellation)
    {
        if (!listen)
        {
            try
            {
                return await IntrospectedVm.ConnectAsync(endpoint, options, cancellation).ConfigureAwait(false);
            }
            catch (LinuxException nobody) when (nobody.Errno is Errno.NoEntry or Errno.ConnectionRefused)
            {
                throw new CliException(
                    $"no VM listens at {endpoint}. Start one with: hyperscope vm run --kvmi-listen {endpoint}; "
                    + "or add --listen here to wait for a VM that connects");
            }
        }

        using KvmiListener listener = KvmiListener.Listen(endpoint, options);
        await Console.Error.WriteLineAsync($"waiting for a VM at {listener.Endpoint}").ConfigureAwait(false);
        return await listener.AcceptAsync(cancellation).ConfigureAwait(false);
    }
}
